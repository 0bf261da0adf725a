"""A TCP proxy that is as bad as a network can be. It listens in front of one server, on loopback; what it does
can be changed while connections stand.

    latency    seconds that bytes take, in each direction
    bandwidth  bytes a second, in each direction (None: unlimited)
    slice      most bytes in one packet (1: every byte alone)

stall() carries nothing more and reads nothing more, swallow() reads what comes and loses it, in the directions
named; both keep connections open, and take new ones that never get an answer. heal() ends it; a connection of which
bytes were lost is reset then. reset() cuts all connections with a TCP reset, close() ends the proxy, reopen() lets it
listen again at the same port."""
import asyncio
import socket
import struct
import threading
import time

TO_SERVER, TO_CLIENT = "to server", "to client"
BOTH = (TO_SERVER, TO_CLIENT)
CHUNK_BYTES = 65536


class Proxy:
    def __init__(self, server_port, port=0, tls=None, host="127.0.0.1"):
        """tls: the SSL context that clients meet; the server is spoken to without. host: where it listens."""
        self.server_port, self.port, self.tls, self.host = server_port, port, tls, host
        self.latency, self.bandwidth, self.slice = 0.0, None, CHUNK_BYTES
        self.stalled, self.swallowed = set(), set()
        self.accepted = 0            # connections ever
        self.carried = {TO_SERVER: 0, TO_CLIENT: 0}  # bytes
        self.writers = {}            # its two writers: the set of directions that lost bytes
        self.loop, self.changed, self.server = asyncio.new_event_loop(), None, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self._call(self._listen())

    # ---- what tests do ----

    def stall(self, *directions):
        self._set(self.stalled, directions or BOTH)

    def swallow(self, *directions):
        self._set(self.swallowed, directions or BOTH)

    def heal(self):
        async def change():
            for pair in [p for p, lost in self.writers.items() if lost]:
                abort(pair)
            self.stalled.clear()
            self.swallowed.clear()
            self._wake()
        self._call(change())

    def reset(self):
        async def cut():
            for pair in list(self.writers):
                abort(pair)
        self._call(cut())

    def close(self):
        """Nobody listens any more, and all connections are cut."""
        async def end():
            if self.server:
                self.server.close()
                await self.server.wait_closed()
                self.server = None
        self._call(end())
        self.reset()

    def reopen(self):
        self._call(self._listen())

    def end(self):
        self.close()

        async def tidy():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._call(tidy())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)

    @property
    def connections(self):
        return len(self.writers)

    # ---- the loop's thread ----

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def _set(self, which, directions):
        async def change():
            which.update(directions)
            self._wake()
        self._call(change())

    def _wake(self):
        changed, self.changed = self.changed, asyncio.Event()
        if changed:
            changed.set()

    async def _listen(self):
        self._wake()
        self.server = await asyncio.start_server(self._accept, self.host, self.port, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _accept(self, client_reader, client_writer):
        self.accepted += 1
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            abort([client_writer])
            return
        pair = (client_writer, server_writer)
        self.writers[pair] = set()
        for w in pair:
            w.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        done, left = await asyncio.wait([asyncio.ensure_future(self._pump(pair, client_reader, server_writer, TO_SERVER)),
                                         asyncio.ensure_future(self._pump(pair, server_reader, client_writer, TO_CLIENT))],
                                        return_when=asyncio.FIRST_EXCEPTION)
        for task in left:
            task.cancel()
        for task in done:
            task.exception()  # looked at: a reset is what this is for
        self.writers.pop(pair, None)
        abort(pair)

    async def _pump(self, pair, reader, writer, direction):
        """Bytes on their way stand in a queue, so that latency does not bound the rate."""
        on_way = asyncio.Queue(1000)

        async def deliver():
            while True:
                due, data = await on_way.get()
                await asyncio.sleep(max(0, due - time.monotonic()))
                await self._write(pair, writer, data, direction)
                if not data:
                    return
        delivery = asyncio.ensure_future(deliver())
        try:
            while True:
                while direction in self.stalled:
                    await self.changed.wait()
                data = await reader.read(CHUNK_BYTES)
                await on_way.put((time.monotonic() + self.latency, data))
                if not data:
                    await delivery
                    return
        finally:
            delivery.cancel()

    async def _write(self, pair, writer, data, direction):
        if not data and direction not in self.stalled | self.swallowed:
            writer.write_eof()
        most = min(self.slice, max(1, self.bandwidth // 20)) if self.bandwidth else self.slice
        for i in range(0, len(data), most):
            while direction in self.stalled:
                await self.changed.wait()
            if direction in self.swallowed:
                self.writers.get(pair, set()).add(direction)
                continue
            part = data[i:i + most]
            writer.write(part)
            await writer.drain()
            self.carried[direction] += len(part)
            if self.slice < CHUNK_BYTES:
                await asyncio.sleep(0)  # a packet of its own
            if self.bandwidth:
                await asyncio.sleep(len(part) / self.bandwidth)


def abort(writers):
    """With a reset, not with a FIN."""
    for w in writers:
        s = w.get_extra_info("socket")
        if s is not None:
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass  # it is closed already
        w.transport.abort()
