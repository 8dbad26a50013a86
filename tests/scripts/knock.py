"""Prints which of the given addresses, each host:port, accept a connection."""

import socket
import sys

for place in sys.argv[1:]:
    host, port = place.split(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
        print(place)
    except OSError:
        pass
