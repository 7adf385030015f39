"""Echoes messages, by the library wsproto: an argument is the port."""

import socket
import sys
import threading

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Request
from wsproto.utilities import RemoteProtocolError


def serve(client):
    connection, last = Whole(ConnectionType.SERVER), False
    with client:
        while not last:
            data = client.recv(1 << 16)
            try:
                connection.receive_data(data or None)
                said, last = connection.answer()
            except RemoteProtocolError as error:
                said, last = connection.send(error.event_hint), True
            client.sendall(said)
            last = last or not data


class Whole(WSConnection):
    """A connection that gives messages back whole."""

    def __init__(self, side):
        super().__init__(side)
        self.pieces = []

    def answer(self):
        said, last = b"", False
        for event in self.events():
            if isinstance(event, Request):
                said += self.send(AcceptConnection())
            elif isinstance(event, Message):
                self.pieces.append(event.data)
                if event.message_finished:
                    whole = self.pieces[0][:0].join(self.pieces)
                    self.pieces = []
                    said += self.send(type(event)(data=whole))
            elif isinstance(event, Ping):
                said += self.send(event.response())
            elif isinstance(event, CloseConnection):
                said += self.send(event.response())
                last = True
        return said, last


listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=128)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
