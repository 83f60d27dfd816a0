"""Things go wrong while versions come and go. After each: the right version serves, and nothing leaks.
LLAVA_KILLS: at how many points of a reload the daemon is killed, 8 if not set."""
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from daemon_process import of_threads, wait_until  # noqa: E402
from published import ROOT, Published, rolled, wide  # noqa: E402
from reload_daemon import Llavad, Load, models_pb, pb, question  # noqa: E402

AT_ONCE = "canary_percent: 0\n"
DEMO = ROOT / "demo/checkpoint"
RELOADS = 30
KILLS = int(os.environ.get("LLAVA_KILLS", 8))
SEED = 12


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

    def test_killed_at_any_point_of_a_reload(self):
        print("seed", SEED)
        draw = random.Random(SEED)
        _, newest = self.published.publish()
        with Llavad(self.config).wait_ready() as daemon:
            began = time.monotonic()
            _, newest = self.published.publish(edit=wide)
            daemon.wait_state(newest, "live")
            takes = time.monotonic() - began  # from being published to being live
        for _ in range(KILLS):
            daemon = Llavad(self.config)
            daemon.wait_ready()
            self.assertEqual(daemon.ask()[0], newest)
            for old in sorted(self.published.root.glob("v*"))[:-1]:
                shutil.rmtree(old)
            _, newest = self.published.publish(edit=wide)
            threading.Event().wait(draw.uniform(0, 1.2 * takes))
            daemon.kill()
            with daemon:
                pass
        with Llavad(self.config).wait_ready() as daemon:
            self.assertEqual(daemon.ask()[0], newest)

    def test_killed_while_a_rolled_back_version_still_answers(self):
        _, old = self.published.publish()
        daemon = Llavad(self.config)
        with daemon.wait_ready():
            folder, new = self.published.publish(edit=wide)
            daemon.wait_state(new, "live")
            request = pb.ChatStreamRequest(request=question("Go on.", max_tokens=100, ignore_eos=True))
            stream = daemon.chat.ChatStream(request)
            next(stream)
            daemon.models.Rollback(models_pb.RollbackRequest(reason="odd answers"))
            wait_until((self.published.root / ".rolled-back" / new).exists, "it is noted")
            self.assertEqual(daemon.state(new), "draining")
            daemon.kill()
            with self.assertRaises(grpc.RpcError):
                list(stream)
        with Llavad(self.config).wait_ready() as again:
            self.assertEqual(again.ask()[0], old)
            self.assertEqual(again.state(new), "rejected")

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
                    # While it is loaded, all of it may have been read already.
                    daemon.wait_state(new, "rejected", *(["live"] if state == "loading" else []))
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

    def test_sigterm_is_for_the_main_thread_alone(self):
        """In any other it would end the daemon without a drain."""
        self.published.publish()
        with Llavad(self.config).wait_ready() as daemon:
            for thread, text in of_threads(daemon.process.pid, "status").items():
                status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
                if thread != daemon.process.pid:
                    self.assertTrue(int(status["SigBlk"], 16) & 1 << (signal.SIGTERM - 1), status["Name"])

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

    def test_nothing_is_left_of_versions_that_were_freed(self):
        """Two real checkpoints in turn, each loaded under load. Memory is measured while nobody asks, the first time when all
        caches are full, and comes back each time: of all versions together less is left than one of them weighs."""
        self.published.publish(base=DEMO)
        with Llavad(self.config + "keep_previous: false\n").wait_ready() as daemon:
            folders = [self.published.write(base=DEMO) for _ in range(2)]
            weights = (DEMO / "model.safetensors").stat().st_size
            with Load(daemon, max_tokens=8) as load:
                load.wait_answers(40)
            daemon.fill_kv_cache()
            resident, held = [daemon.rss()], []
            for turn in range(RELOADS):
                folder, version = folders[turn % 2]
                with Load(daemon, max_tokens=8) as load:
                    load.wait_answers(3)
                    daemon.load(folder)
                    load.wait_answers(3, version)
                load.check(self)
                wait_until(lambda: daemon.loaded() == 1, "the old version is freed")
                resident.append(daemon.rss())
                held.append(daemon.holds())
            print(f"{RELOADS} reloads of {weights / 2**20:.1f} MiB: resident MiB at the start and after each drain:",
                  " ".join(f"{r / 2**20:.1f}" for r in resident))
            self.assertLess(max(resident) - resident[0], weights)
            wait_until(lambda: daemon.holds() == held[0], f"files and threads as after the first, {held[0]}")

    def test_a_reload_while_draining_is_refused(self):
        _, old = self.published.publish(edit=wide)
        with Llavad(self.config).wait_ready() as daemon:
            folder, _ = self.published.write(rolled(1))
            request = pb.ChatStreamRequest(request=question("Go on.", max_tokens=100, ignore_eos=True))
            stream = daemon.chat.ChatStream(request)
            tokens = len(next(stream).token_ids)
            daemon.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "draining" in daemon.get("/readyz")[1], "it drains")
            for call in (lambda: daemon.load(folder), lambda: daemon.models.Reload(models_pb.ReloadRequest())):
                with self.assertRaises(grpc.RpcError) as refused:
                    call()
                self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAVAILABLE)
                self.assertEqual(refused.exception.details(), "the server is stopping")
            self.assertEqual(daemon.state(old), "live")
            self.assertEqual(daemon.metrics()["llava_requests_running"], 1)  # all that while it drained
            self.assertEqual(tokens + sum(len(event.token_ids) for event in stream), 100)
            self.assertEqual(daemon.process.wait(timeout=60), 0, daemon.logged())

    def test_a_load_gives_way_to_those_who_are_served(self):
        self.published.publish()
        with Llavad(self.config).wait_ready() as daemon, Load(daemon) as load:
            def niceness():
                """(name, nice) of each of its threads."""
                found = []
                for text in of_threads(daemon.process.pid, "stat").values():
                    name, _, rest = text.partition("(")[2].rpartition(")")
                    found.append((name, int(rest.split()[16])))
                return found
            ours = {nice for _, nice in niceness()}
            self.assertEqual(ours, {os.nice(0)})
            folder, _ = self.published.write(edit=wide)
            call = daemon.models.Load.future(models_pb.LoadRequest(path=str(folder)))
            seen = set()
            while not call.done():
                seen |= set(niceness())
            call.result()
            self.assertEqual({nice for name, nice in seen if name != "llavad"}, ours)  # the engine's, and gRPC's
            self.assertIn(("llavad", 10), seen)
            load.wait_answers(3)
            # It waits for the next version; one thread, however many come.
            daemon.load(self.published.write(rolled(1))[0])
            nice = [name for name, nice in niceness() if nice == 10]
            self.assertEqual(nice, ["llavad"])
        load.check(self)


if __name__ == "__main__":
    unittest.main(verbosity=2)
