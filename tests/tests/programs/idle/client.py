"""Opens many connections and uses each once; when told to, uses each once more."""
import resource
import socket
import sys

AT_ONCE = 100

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
address, count = (sys.argv[1], 8080), int(sys.argv[2])


def use(connections, byte):
    for connection in connections:
        connection.sendall(byte)
    for connection in connections:
        answer = connection.recv(1)
        if answer != byte:
            sys.exit(f"{connection.getsockname()} got {answer!r}")


connections = []
while len(connections) < count:
    some = [socket.create_connection(address, timeout=20) for _ in range(AT_ONCE)]
    use(some, b"a")
    connections += some
    if len(connections) % 1000 == 0:
        print("open", len(connections), flush=True)
sys.stdin.readline()
use(connections, b"z")
print("used", len(connections), flush=True)
