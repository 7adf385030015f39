"""Calls every kind of method and prints what came back."""
import queue
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.max_receive_message_length", -1)])


def unary(method):
    return channel.unary_unary("/test.Test/" + method)


print(unary("Peer")(b"", timeout=20).decode())

large = bytes(range(256)) * 32768
answer = unary("Echo")(large, timeout=20)
print("echo", len(answer), answer == large)

numbers = list(channel.unary_stream("/test.Test/Count")(b"1000", timeout=20))
print("count", len(numbers), numbers == [str(n).encode() for n in range(1000)])

# Each word is sent only after the answer to the one before has come.
words = queue.Queue()
answers = channel.stream_stream("/test.Test/Talk")(iter(words.get, None), timeout=20)
heard = []
for word in [b"one", b"two", b"three"]:
    words.put(word)
    heard.append(next(answers).decode())
words.put(None)
assert list(answers) == []
print("talk", heard)

for method, timeout in [("Fail", 20), ("Wait", 0.2)]:
    try:
        unary(method)(b"", timeout=timeout)
    except grpc.RpcError as error:
        if method == "Fail":
            print("fail", error.code().name, error.details())
        else:
            print("late", error.code().name)

calls = [(n, unary("Echo").future(str(n).encode(), timeout=20)) for n in range(100)]
print("at once", len(calls), all(call.result() == str(n).encode() for n, call in calls))
