#!/usr/bin/env python3
"""Small servers and clients for the tests of `lockstep audit`: serve.py MODE :PORT.

server: sends back what it gets.  noticed, unnoticed: a client of it that fails, or does not care, if something is wrong.
draws: answers line n with `ok n NUMBER`.  redis: RPUSH and LRANGE.
"""
import random
import socket
import sys
import threading
import time

CHUNK, CHUNKS = 4096, 20


def received(connection, count, end):
    data = b""
    while len(data) < count:
        if time.monotonic() > end:
            raise OSError("too slow")
        more = connection.recv(count - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def talk(port):
    end = time.monotonic() + 2
    with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
        for number in range(CHUNKS):
            sent = bytes([number]) * CHUNK
            connection.sendall(sent)
            if received(connection, CHUNK, end) != sent:
                raise OSError("other bytes came back")


def echo(connection, _):
    while data := connection.recv(65536):
        connection.sendall(data)


def draws(connection, _):
    drawn = {}
    for line in connection.makefile("r"):
        number = line.strip()
        drawn[number] = "%08x" % random.getrandbits(32)
        connection.sendall(f"ok {number} {drawn[number]}\n".encode())


def redis(connection, lists):
    lines = connection.makefile("rb")
    while head := lines.readline():
        words = []
        for _ in range(int(head[1:])):
            length = int(lines.readline()[1:])
            words.append(lines.read(length + 2)[:-2])
        values = lists.setdefault(words[1] if len(words) > 1 else b"", [])
        if words[0] == b"RPUSH":
            values.append(words[2])
            connection.sendall(b":%d\r\n" % len(values))
        elif words[0] == b"LRANGE":
            text = b"".join(b"$%d\r\n%s\r\n" % (len(value), value) for value in values)
            connection.sendall(b"*%d\r\n%s" % (len(values), text))
        else:
            connection.sendall(b"+OK\r\n")


def serve(port, answer):
    listener = socket.create_server(("127.0.0.1", port))
    print("listening", flush=True)
    lists = {}
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=quiet, args=(answer, connection, lists), daemon=True).start()


def quiet(answer, connection, lists):
    try:
        answer(connection, lists)
    except OSError:
        pass
    connection.close()


mode, port = sys.argv[1], int(sys.argv[2].lstrip(":"))
if mode in ("noticed", "unnoticed"):
    try:
        talk(port)
    except OSError as error:
        sys.exit(f"{error}" if mode == "noticed" else 0)
else:
    serve(port, {"server": echo, "draws": draws, "redis": redis}[mode])
