"""Things go wrong while versions come and go. After each: the right version serves, and nothing leaks."""
import os
import resource
import shutil
import signal
import sys
import tempfile
import unittest
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
import numpy as np  # noqa: E402

from daemon_process import wait_until  # noqa: E402
from published import Published, edit_config, read_tensors, rolled, write_tensors  # noqa: E402
from reload_daemon import Llavad, Load, models_pb, pb, question  # noqa: E402

AT_ONCE = "canary_percent: 0\n"
WIDE = 131072  # makes weights of about 100 MB, which take a moment to read


def wide(folder):
    """A checkpoint that is large on the disk."""
    edit_config(folder, lambda config: config["text_config"].update(intermediate_size=WIDE))
    arrays = read_tensors(folder / "model.safetensors")
    for name, array in arrays.items():
        if ".mlp.gate_proj." in name or ".mlp.up_proj." in name:
            arrays[name] = np.zeros((WIDE, array.shape[1]), np.uint16)
        elif ".mlp.down_proj." in name:
            arrays[name] = np.zeros((array.shape[0], WIDE), np.uint16)
    write_tensors(folder / "model.safetensors", arrays)


def wait_for_event(daemon, version, state):
    """Until it was told: the daemon may be further by now."""
    wait_until(lambda: (version, state) in daemon.events(), f"{version[:12]} {state}")


class ReloadChaosTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.published = Published(folder.name + "/models")
        self.config = f"watch: {self.published.root}\n" + AT_ONCE

    def test_killed_while_loading_and_started_again(self):
        _, old = self.published.publish()
        for state in ("verifying", "loading"):
            with self.subTest(state):
                daemon = Llavad(self.config)
                daemon.wait_ready()
                _, new = self.published.publish(edit=wide)
                wait_for_event(daemon, new, state)
                daemon.kill()
                with daemon:
                    pass
                with Llavad(self.config).wait_ready() as again:
                    self.assertEqual(again.ask()[0], new)

    def test_started_when_the_newest_is_bad(self):
        _, good = self.published.publish()
        folder, bad = self.published.publish(rolled(1))
        (folder / "model.safetensors").write_bytes(b"torn")
        with Llavad(self.config).wait_ready() as daemon:
            self.assertEqual(daemon.ask()[0], good)
            self.assertEqual(daemon.state(bad), "rejected")

    def test_the_folder_goes_while_it_is_read(self):
        _, old = self.published.publish()
        with Llavad(self.config).wait_ready() as daemon, Load(daemon) as load:
            for state in ("verifying", "loading"):
                with self.subTest(state):
                    folder, new = self.published.publish(edit=wide)
                    wait_for_event(daemon, new, state)
                    shutil.rmtree(folder)
                    daemon.wait_state(new, "live", "rejected")
                    load.wait_answers(4)
            _, last = self.published.publish(rolled(1))
            daemon.wait_state(last, "live")
            load.wait_answers(4, last)
        load.check(self)

    def test_the_folder_is_replaced_while_it_is_read(self):
        self.published.publish()
        with Llavad(self.config).wait_ready() as daemon, Load(daemon) as load:
            folder, new = self.published.publish(edit=wide)
            other, other_version = self.published.write(rolled(1))
            wait_for_event(daemon, new, "verifying")
            os.rename(folder, folder.with_name(".gone"))
            os.rename(other, folder)
            # What lies there now is taken in, whatever became of what lay there before.
            daemon.wait_state(other_version, "live")
            self.assertIn(daemon.state(new), ("rejected", "kept", "freed"))
            load.wait_answers(4, other_version)
        load.check(self)

    def test_a_file_is_cut_while_it_is_read(self):
        self.published.publish()
        with Llavad(self.config).wait_ready() as daemon, Load(daemon) as load:
            for state in ("verifying", "loading"):
                with self.subTest(state):
                    folder, new = self.published.publish(edit=wide)
                    wait_for_event(daemon, new, state)
                    os.truncate(folder / "model.safetensors", 1 << 20)
                    daemon.wait_state(new, "live", "rejected")  # live when all of it had been read
                    load.wait_answers(4)
                    self.assertIsNone(daemon.process.poll(), daemon.logged())
        load.check(self)

    def test_no_memory_while_loading(self):
        _, old = self.published.publish()
        with Llavad(self.config).wait_ready() as daemon, Load(daemon) as load:
            load.wait_answers(6)
            pid = daemon.process.pid
            used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
            resource.prlimit(pid, resource.RLIMIT_AS, (used + (48 << 20), resource.RLIM_INFINITY))
            with self.assertRaises(grpc.RpcError) as refused:
                daemon.load(self.published.write(edit=wide)[0])
            self.assertEqual(refused.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED,
                             refused.exception.details())
            load.wait_answers(6, old)
            resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        load.check(self)

    def test_sigterm_while_loading(self):
        _, old = self.published.publish()
        for state in ("verifying", "loading"):
            with self.subTest(state), Llavad(self.config).wait_ready() as daemon:
                request = pb.ChatStreamRequest(request=question("Go on.", max_tokens=60, ignore_eos=True))
                streams = [daemon.chat.ChatStream(request) for _ in range(3)]
                first = [next(stream) for stream in streams]
                _, new = self.published.publish(edit=wide)
                wait_for_event(daemon, new, state)
                daemon.process.send_signal(signal.SIGTERM)
                for event, stream in zip(first, streams):
                    tokens = len(event.token_ids) + sum(len(e.token_ids) for e in stream)
                    self.assertEqual(tokens, 60)
                self.assertEqual(daemon.process.wait(timeout=60), 0, daemon.logged())

    def test_nothing_leaks(self):
        self.published.publish()
        with Llavad(self.config + "keep_previous: false\n").wait_ready() as daemon, Load(daemon) as load:
            def open_files():
                return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))

            def threads():
                return len(os.listdir(f"/proc/{daemon.process.pid}/task"))

            def reload(rows):
                folder, version = self.published.publish(rolled(rows))
                daemon.wait_state(version, "live")
                load.wait_answers(3, version)
                wait_until(lambda: sum(v.bytes > 0 for v in daemon.versions().values()) == 1, "the old one is freed")
            for rows in range(1, 4):
                reload(rows)
            before = open_files(), threads(), daemon.rss()
            for rows in range(4, 12):
                reload(rows)
            self.assertLessEqual(open_files(), before[0] + 2)
            self.assertLessEqual(threads(), before[1] + 2)
            self.assertLessEqual(daemon.rss(), before[2] + (24 << 20))
        load.check(self)


if __name__ == "__main__":
    unittest.main(verbosity=2)
