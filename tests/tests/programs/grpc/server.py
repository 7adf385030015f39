"""A gRPC service on port 8080 that moves bytes and tells who calls; grpcio does the rest."""
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def talk(requests, context):
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "there is nothing")


def wait(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait()
    return b""


unary = grpc.unary_unary_rpc_method_handler
methods = {
    "Peer": unary(lambda request, context: context.peer().encode()),
    "Echo": unary(lambda request, context: request),
    "Fail": unary(fail),
    "Wait": unary(wait),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
}
server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", methods)])
server.add_insecure_port("0.0.0.0:8080")
server.start()
server.wait_for_termination()
