"""A terminal of a test's own: a program in it, what its screen shows, keys, resizing."""
import codecs
import fcntl
import os
import select
import signal
import struct
import termios
import threading

import pyte
from broker import wait_until


class Terminal:
    """`linux` is the kind that pyte is."""

    def __init__(self, t, command, env, columns=120, lines=24, kind="linux"):
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.Stream(self.screen)
        self.decode = codecs.getincrementaldecoder("utf-8")("replace")
        self.lock, self.bytes, self.code = threading.Lock(), b"", None
        self.master, slave = os.openpty()
        self.set_size(columns, lines)
        self.before = termios.tcgetattr(slave)
        # The slave stays open here, so that its settings can be asked for after the end.
        self.slave = slave
        self.pid = os.fork()
        if self.pid == 0:
            self.take(slave)
            os.execvpe(command[0], command, {**env, "TERM": kind})
        self.stopping = False
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        t.ends(self.close)

    @staticmethod
    def take(slave):
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)

    def read(self):
        while not self.stopping:
            if not select.select([self.master], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(self.master, 65536)
            except OSError:
                return
            with self.lock:
                self.bytes += part
                self.stream.feed(self.decode.decode(part))

    def lines(self):
        with self.lock:
            return [line.rstrip() for line in self.screen.display]

    def style(self, line):
        """Of the first character there."""
        with self.lock:
            return self.screen.buffer[line][0]

    def line_of(self, text):
        return next((line for line in self.lines() if text in line), None)

    def wait_text(self, text, seconds=30):
        try:
            wait_until(lambda: self.line_of(text), f"'{text}' on the screen", seconds)
        except Exception as e:
            raise RuntimeError(f"{e}; the screen shows:\n" + "\n".join(self.lines())) from None
        return self.line_of(text)

    def press(self, keys):
        os.write(self.master, keys.encode())

    def set_size(self, columns, lines):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns, lines):
        with self.lock:
            self.screen.resize(lines, columns)
        self.set_size(columns, lines)

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def signal(self, number):
        os.kill(self.pid, number)

    def ended(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait_end(self):
        """Its exit code; a signal's number below zero."""
        wait_until(self.ended, "the end of the program in the terminal")
        return self.code

    def close(self):
        if not self.ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.code = -9
        self.stopping = True
        self.thread.join()
        os.close(self.master)
        os.close(self.slave)
