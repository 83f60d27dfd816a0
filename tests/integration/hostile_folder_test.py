"""Whatever lies in a published folder rejects that version at the most: the daemon goes on to answer, takes the next good
version in, and stops when it is told to. Links in a circle, pipes, sockets, devices, deep trees, odd names, permissions."""
import os
import socket
import tempfile
import unittest
from pathlib import Path

from published import Published
from reload_daemon import Llavad


def circle(folder):
    (folder / "loop").symlink_to("loop")


def circle_of_folders(folder):
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")


def up_and_down(folder):
    (folder / "up").symlink_to("..")


def pipe_beside(folder):
    os.mkfifo(folder / "preprocessor_extra")


def deep(folder):
    for _ in range(200):
        folder = folder / ("d" * 10)
        folder.mkdir()


def bad_name(folder):
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.txt"))).write_text("x")


def in_place_of(name, put):
    def change(folder):
        (folder / name).unlink()
        put(folder / name)
    change.__name__ = f"{put.__name__} in the place of {name}"
    return change


def a_pipe(path):
    os.mkfifo(path)


def a_device(path):
    path.symlink_to("/dev/zero")


def a_circle(path):
    path.symlink_to(path.name)


def a_folder(path):
    path.mkdir()


def a_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def unreadable(folder):
    (folder / "config.json").chmod(0)
    if os.access(folder / "config.json", os.R_OK):  # by root: then its bytes are others
        (folder / "config.json").chmod(0o644)
        (folder / "config.json").write_text("{}")


HOSTILE = [circle, circle_of_folders, pipe_beside, bad_name, unreadable] + [
    in_place_of(name, put) for name in ("manifest.json", "config.json", "tokenizer.model", "model.safetensors")
    for put in (a_pipe, a_device, a_circle, a_folder, a_socket)]
ODD = [up_and_down, deep]  # may be taken or not


class HostileFolderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.published = Published(folder.name + "/models")
        _, self.good = self.published.publish()
        self.daemon = Llavad(f"watch: {self.published.root}\ncanary_percent: 0\nkeep_previous: false\n").wait_ready()
        self.addCleanup(self.daemon.__exit__)

    def of(self, folder):
        return [v for v in self.daemon.versions().values() if v.path == str(folder)]

    def test_nothing_in_a_folder_ends_or_holds_up_the_daemon(self):
        for change in HOSTILE:
            with self.subTest(change.__name__):
                folder, _ = self.published.write()
                change(folder)
                self.published.point(folder)
                with self.assertRaises(Exception) as refused:
                    self.daemon.load(folder, timeout=60)
                print(change.__name__, "->", refused.exception.details())
                self.assertEqual([v.state for v in self.of(folder)], [11])
                self.assertEqual(self.daemon.ask()[0], self.good)
                self.assertEqual(self.daemon.state(self.good), "live")
        for change in ODD:
            with self.subTest(change.__name__):
                folder, _ = self.published.write()
                change(folder)
                self.published.point(folder)
                try:
                    self.daemon.load(folder, timeout=60)
                except Exception as refused:
                    print(change.__name__, "->", refused.details())
                self.daemon.ask()
        _, better = self.published.publish()
        self.daemon.wait_state(better, "live")
        self.assertEqual(self.daemon.ask()[0], better)
        self.assertEqual(self.daemon.stop(), 0)

    def test_a_pipe_in_the_place_of_the_manifest_does_not_hold_up_the_end(self):
        folder, _ = self.published.write()
        in_place_of("manifest.json", a_pipe)(folder)
        self.published.point(folder)
        self.daemon.ask()
        self.assertEqual(self.daemon.stop(), 0)

    def test_latest_in_a_circle(self):
        link = self.published.root / ".latest-new"
        link.symlink_to("latest")
        os.rename(link, self.published.root / "latest")
        (self.published.root / "loop").symlink_to("loop")
        for _ in range(5):
            self.assertEqual(self.daemon.ask()[0], self.good)
        _, better = self.published.publish()
        self.daemon.wait_state(better, "live")


if __name__ == "__main__":
    unittest.main(verbosity=2)
