"""The cases of the Autobahn test suite that are about the protocol itself (1 to 7, 9 and 10), frame by frame.

    cases.py HOST PORT

Prints a line for each case: its number, whether what came is what RFC 6455 asks for, and how it ended.
"""

import socket
import struct
import sys
from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LIMIT = 10.0
# 1002 of the protocol, 1007 of texts that are none; or just the end of the connection, after what was an error.
ERROR, NO_TEXT = ("1002", "gone"), ("1007", "gone")
NORMAL = ("1000",)


@dataclass
class Case:
    """Frames to send, what has to come back before the connection ends, and how it may end."""

    frames: list
    back: list
    end: tuple = NORMAL
    chop: int = 0

    def closes(self):
        return any(piece[0] == 0x80 | CLOSE for piece in self.frames)


def frame(kind, data=b"", fin=True, rsv=0):
    if isinstance(data, str):
        data = data.encode()
    head = bytes([(fin << 7) | (rsv << 4) | kind])
    size = len(data)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += struct.pack(">BH", 0xFE, size)
    else:
        head += struct.pack(">BQ", 0xFF, size)
    mask = b"\x5a\xa5\x3c\xc3"
    key = int.from_bytes(mask * (size // 4 + 1), "big") >> (8 * (4 - size % 4))
    return head + mask + (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")


def parts(kind, data, size):
    """A message in fragments of that size."""
    pieces = [data[at:at + size] for at in range(0, len(data), size)] or [data]
    last = len(pieces) - 1
    return [frame(kind if at == 0 else 0, piece, at == last) for at, piece in enumerate(pieces)]


def echo(kind, data, chop=0):
    return Case([frame(kind, data)], [(kind, data)], chop=chop)


def framing():
    for group, kind, letter in ((1, TEXT, b"*"), (2, BINARY, b"\xfe")):
        for number, size in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1):
            yield f"1.{group}.{number}", echo(kind, letter * size)
        yield f"1.{group}.8", echo(kind, letter * 65536, 997)


def pings():
    for number, data in enumerate((b"", b"Hello, world!", bytes([0, 255, 254, 253, 252, 251, 0, 255]), b"\xfe" * 125), 1):
        yield f"2.{number}", Case([frame(PING, data)], [(PONG, data)])
    yield "2.5", Case([frame(PING, b"\xfe" * 126)], [], ERROR)
    yield "2.6", Case([frame(PING, b"\xfe" * 125)], [(PONG, b"\xfe" * 125)], chop=1)
    yield "2.7", Case([frame(PONG)], [])
    yield "2.8", Case([frame(PONG, b"unsolicited")], [])
    yield "2.9", Case([frame(PONG, b"unsolicited"), frame(PING, b"ping")], [(PONG, b"ping")])
    many = [b"payload-%d" % number for number in range(10)]
    yield "2.10", Case([frame(PING, data) for data in many], [(PONG, data) for data in many])
    yield "2.11", Case([frame(PING, data) for data in many], [(PONG, data) for data in many], chop=1)


def reserved():
    for rsv in range(1, 8):
        yield f"3.{rsv}", Case([frame(TEXT, b"small", rsv=rsv)], [], ERROR)
        before = Case([frame(TEXT, b"small"), frame(BINARY, b"small", rsv=rsv)], [(TEXT, b"small")], ERROR)
        yield f"3.{rsv}b", before
    for group, kinds in ((1, range(3, 8)), (2, range(11, 16))):
        for number, kind in enumerate(kinds, 1):
            yield f"4.{group}.{number}", Case([frame(kind)], [], ERROR)
            yield f"4.{group}.{number}b", Case([frame(TEXT, b"a"), frame(kind, b"x"), frame(PING)], [(TEXT, b"a")], ERROR)


def fragments():
    yield "5.1", Case([frame(PING, b"a", fin=False), frame(0, b"b")], [], ERROR)
    yield "5.2", Case([frame(PONG, b"a", fin=False), frame(0, b"b")], [], ERROR)
    two = [frame(TEXT, b"fragment1", fin=False), frame(0, b"fragment2")]
    both = (TEXT, b"fragment1fragment2")
    ping, pong = frame(PING, b"ping"), (PONG, b"ping")
    for number, chop in ((3, 0), (4, 7), (5, 1)):
        yield f"5.{number}", Case(two, [both], chop=chop)
        yield f"5.{number + 3}", Case([two[0], ping, two[1]], [pong, both], chop=chop)
    for number, fin, chop in ((9, True, 0), (10, True, 7), (11, True, 1), (12, False, 0), (13, False, 7), (14, False, 1)):
        yield f"5.{number}", Case([frame(0, b"none", fin=fin), frame(TEXT, b"Hello")], [], ERROR, chop)
    yield "5.15", Case([*two, frame(0, b"fragment3", fin=False), frame(TEXT, b"4")], [both], ERROR)
    for number, fin in ((16, False), (17, True)):
        yield f"5.{number}", Case([frame(0, b"a", fin=fin), *two], [], ERROR)
    yield "5.18", Case([two[0], frame(TEXT, b"fragment2")], [], ERROR)
    five = parts(TEXT, b"fragment%d" * 5 % (1, 2, 3, 4, 5), 9)
    with_pings = [*five[:2], ping, *five[2:4], ping, five[4]]
    whole = (TEXT, b"fragment1fragment2fragment3fragment4fragment5")
    yield "5.19", Case(with_pings, [pong, pong, whole])
    yield "5.20", Case(with_pings, [pong, pong, whole], chop=1)


VALID = [
    "", "Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\0", "\x7f", "\x80", "߿", "ࠀ", "퟿", "", "�", "￿", "\U00010000",
    "\U0010ffff", "﷐", "\U0001fffe", "\U000fffff", "áé", "日本語",
]
INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", b"\x80", b"\xbf", b"\x80\xbf", b"\xc0\xaf",
    b"\xc1\xbf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf", b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf", b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80", b"\xf4\x90\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xfe", b"\xff", b"\xfe\xfe\xff\xff", b"a\xc3",
    b"\xe2\x82", b"\xf0\x9f\x98",
]


def texts():
    for number, text in enumerate(VALID, 1):
        data = text.encode()
        yield f"6.v{number}", echo(TEXT, data)
        yield f"6.v{number}b", Case(parts(TEXT, data, 1), [(TEXT, data)])
    for number, data in enumerate(INVALID, 1):
        yield f"6.i{number}", Case([frame(TEXT, data)], [], NO_TEXT)
        yield f"6.i{number}b", Case(parts(TEXT, data, 1), [], NO_TEXT)


def close(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason)


def closes():
    yield "7.1.1", Case([frame(TEXT, b"Hello"), close(1000)], [(TEXT, b"Hello")])
    yield "7.1.2", Case([close(1000), close(1000)], [])
    yield "7.1.3", Case([close(1000), frame(PING)], [])
    yield "7.1.4", Case([close(1000), frame(TEXT, b"Hello")], [])
    yield "7.1.5", Case([frame(TEXT, b"a", fin=False), close(1000), frame(0, b"b")], [])
    yield "7.3.1", Case([close()], [], ("none", "1000"))
    yield "7.3.2", Case([frame(CLOSE, b"a")], [], ERROR)
    yield "7.3.4", Case([close(1000, b"Hello World!")], [])
    yield "7.3.5", Case([close(1000, b"*" * 123)], [])
    yield "7.3.6", Case([close(1000, b"*" * 124)], [], ERROR)
    yield "7.5.1", Case([close(1000, b"\xce\xba\xed\xa0\x80")], [], ("1007", "1002", "gone"))
    for number, code in enumerate((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1):
        yield f"7.7.{number}", Case([close(code)], [], (str(code), "1000"))
    for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        yield f"7.9.{number}", Case([close(code)], [], ERROR)


def bulk():
    for group, kind in ((1, TEXT), (2, BINARY)):
        for number, size in enumerate((1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 23, 1 << 24), 1):
            yield f"9.{group}.{number}", echo(kind, b"*" * size)
    for group, kind in ((3, TEXT), (4, BINARY)):
        data = b"*" * (1 << 22)
        for number, size in enumerate((1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22), 1):
            yield f"9.{group}.{number}", Case(parts(kind, data, size), [(kind, data)])
    for group, kind in ((5, TEXT), (6, BINARY)):
        for number, chop in enumerate((64, 128, 256, 512, 1024, 2048), 1):
            yield f"9.{group}.{number}", echo(kind, b"*" * (1 << 18), chop)
    for group, kind in ((7, TEXT), (8, BINARY)):
        for number, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
            data = b"*" * size
            yield f"9.{group}.{number}", Case([frame(kind, data)] * 1000, [(kind, data)] * 1000)
    yield "10.1.1", Case(parts(TEXT, b"*" * 65536, 1300), [(TEXT, b"*" * 65536)])


class Gone(Exception):
    """The connection has ended without a word."""


class Connection:
    def __init__(self, address):
        self.socket = socket.create_connection(address, LIMIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.socket.sendall(
            b"GET / HTTP/1.1\r\nHost: sockets\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
        self.buffer = bytearray(rest)

    def more(self):
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            data = b""
        if not data:
            raise Gone
        self.buffer += data

    def take(self, size):
        while len(self.buffer) < size:
            self.more()
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def frame(self):
        head, size = self.take(2)
        assert head & 0x70 == 0 and size < 128, (head, size)
        if size > 125:
            size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
        return head & 0xF, bool(head & 0x80), self.take(size)

    def message(self):
        """The next message, or control frame."""
        kind, whole = None, b""
        while True:
            this, fin, data = self.frame()
            if this >= CLOSE:
                return this, data
            kind = this or kind
            whole += data
            if fin:
                return kind, whole


def run(case, address):
    """What comes back, and how it ends."""
    connection = Connection(address)
    data = b"".join(case.frames)
    got, end = [], None
    try:
        # The peer answers while it is sent more.
        size = case.chop or (1 << 20 if case.end == NORMAL and len(case.back) < 100 else 1 << 14)
        for at in range(0, len(data), size):
            connection.socket.sendall(data[at:at + size])
        while len(got) < len(case.back):
            said = connection.message()
            if said[0] == CLOSE:
                end = said[1]
                break
            got.append(said)
        if end is None and case.end == NORMAL and not case.closes():
            connection.socket.sendall(close(1000))
        while end is None:
            said = connection.message()
            if said[0] == CLOSE:
                end = said[1]
            else:
                got.append(said)
    except (Gone, ConnectionError, TimeoutError) as error:
        code = "gone" if not isinstance(error, TimeoutError) else "silent"
    else:
        code = "none" if not end else str(int.from_bytes(end[:2], "big"))
    connection.socket.close()
    return got, code


def main():
    address = (sys.argv[1], int(sys.argv[2]))
    for number, case in (*framing(), *pings(), *reserved(), *fragments(), *texts(), *closes(), *bulk()):
        got, end = run(case, address)
        # Who sees an error, or is told to close, need not answer what was before.
        wanted = case.back[:len(got)] if case.end != NORMAL or case.closes() else case.back
        fine = got == wanted and end in case.end
        print(number, "passed" if fine else f"FAILED: {got!r:.200}", end, flush=True)


if __name__ == "__main__":
    main()
