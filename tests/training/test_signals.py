"""A signal is acknowledged while the main thread is out of Python's reach, as in a compilation."""

import ctypes
import os
import signal
import threading

from uit_jax.training.signals import acknowledged


def test_a_signal_is_told_before_its_handler_can_run(monkeypatch):
    events, (reading, writing) = [], os.pipe()

    def read():
        events.append(os.read(reading, 100))
        os.write(waiting[1], b".")

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    waiting = os.pipe()
    before = signal.signal(signal.SIGINT, lambda *_: events.append("handled"))
    reader = threading.Thread(target=read, daemon=True)
    try:
        with acknowledged("stopping", to=writing):
            reader.start()
            # In a read of the C library, which waits for the line to be told, no handler of Python's can run.
            libc, byte = ctypes.CDLL(None), ctypes.create_string_buffer(1)
            threading.Timer(0.1, interrupt).start()
            while libc.read(waiting[0], byte, 1) < 1:
                pass
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGINT, before)
    assert events[0] == b"stopping\n" or events[1] == b"stopping\n"
    assert sorted(map(str, events)) == ["b'stopping\\n'", "handled"]


def test_nothing_is_told_without_a_signal_nor_in_another_thread(capfd):
    with acknowledged("stopping"):
        pass
    done = []

    def work():
        with acknowledged("stopping"):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done and capfd.readouterr().err == ""
