"""What cannot be vouched for never touches the live version, is not tried in a loop, and is reported until replaced."""
import hashlib
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import grpc

from daemon_process import wait_until
from published import Published, edit_config, read_tensors, rolled, wide, with_nan, without_a_tensor, write_tensors
from reload_daemon import Llavad, Load
from reload_test import AT_ONCE, probe

CODE = grpc.StatusCode


def other_architecture(folder):
    def change(config):
        config["text_config"]["num_key_value_heads"] = 4
    edit_config(folder, change)
    arrays = read_tensors(folder / "model.safetensors")
    for name in list(arrays):
        if name.endswith(("k_proj.weight", "v_proj.weight")) and name.startswith("language_model"):
            arrays[name] = arrays[name].repeat(2, axis=0)
    write_tensors(folder / "model.safetensors", arrays)


def of_integers(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"BF16"', b'"I16" ', 1))


def shorter_context(folder):
    edit_config(folder, lambda config: config["text_config"].update(max_position_embeddings=128))


class BadCheckpointTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.published = Published(cls.folder.name + "/models")
        _, cls.good = cls.published.publish()
        cls.daemon = Llavad(f"watch: {cls.published.root}\n" + AT_ONCE).wait_ready()
        cls.load = Load(cls.daemon, people=2)
        cls.load.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.load.__exit__()
        cls.daemon.__exit__()
        cls.folder.cleanup()

    def tearDown(self):
        self.load.wait_answers(2, self.good)
        self.load.check(self)
        self.assertEqual(self.daemon.state(self.good), "live")
        self.assertTrue(self.daemon.ready())

    def rejected(self, folder, code, *words):
        """By a call, and again when `latest` names it: once, however often the watcher looks."""
        with self.assertRaises(grpc.RpcError) as refused:
            self.daemon.load(folder)
        self.assertEqual(refused.exception.code(), code, refused.exception.details())
        for word in words:
            self.assertIn(word, refused.exception.details())
        self.published.point(folder)
        self.load.wait_answers(4)  # meanwhile the watcher looks every 50 ms
        found = [v for v in self.daemon.versions().values() if v.path == str(folder)]
        self.assertEqual(len(found), 1)
        self.assertEqual(found[0].state, 11)
        for word in words:
            self.assertIn(word, found[0].reason)
        verified = [s for version, s in self.daemon.events() if version == found[0].version and s == "verifying"]
        self.assertLessEqual(len(verified), 1)

    def test_a_torn_copy(self):
        folder, _ = self.published.write(rolled(1))
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[:len(data) // 2])
        self.rejected(folder, CODE.DATA_LOSS, "model.safetensors", "bytes, the manifest says")
        # When the copy is complete it is taken in by itself: it was replaced.
        (folder / "model.safetensors").write_bytes(data)
        version = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        self.daemon.wait_state(version, "live")
        self.daemon.load(self.published.root / [p.name for p in self.published.root.iterdir()
                                                if p.name.endswith(self.good[:12])][0])

    def test_another_hash(self):
        folder, _ = self.published.write(rolled(2))
        data = bytearray((folder / "model.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "model.safetensors").write_bytes(data)
        self.rejected(folder, CODE.DATA_LOSS, "SHA-256")

    def test_a_torn_manifest(self):
        folder, _ = self.published.write(rolled(3))
        text = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(text[:len(text) // 2])
        self.rejected(folder, CODE.INVALID_ARGUMENT, "manifest.json")

    def test_a_missing_file(self):
        folder, _ = self.published.write(rolled(4))
        (folder / "tokenizer.model").unlink()
        self.rejected(folder, CODE.DATA_LOSS, "tokenizer.model")

    def test_a_missing_tensor(self):
        folder, _ = self.published.write(without_a_tensor)
        self.rejected(folder, CODE.NOT_FOUND, "multi_modal_projector.linear_2.bias", "missing")

    def test_not_a_number(self):
        folder, _ = self.published.write(with_nan)
        self.rejected(folder, CODE.DATA_LOSS, "verifying", "NaN")

    def test_another_architecture(self):
        folder, _ = self.published.write(edit=other_architecture)
        self.rejected(folder, CODE.FAILED_PRECONDITION, "4 key/value heads")

    def test_a_shorter_context(self):
        folder, _ = self.published.write(edit=shorter_context)
        self.rejected(folder, CODE.FAILED_PRECONDITION, "128 tokens")

    def test_another_shape_than_the_configuration_says(self):
        folder, _ = self.published.write(
            edit=lambda path: edit_config(path, lambda config: config["text_config"].update(intermediate_size=256)))
        self.rejected(folder, CODE.INVALID_ARGUMENT, "shape")

    def test_another_dtype(self):
        folder, _ = self.published.write(edit=of_integers)
        self.rejected(folder, CODE.INVALID_ARGUMENT, "model.safetensors", "I16")

    def test_a_failing_probe(self):
        folder, _ = self.published.write(rolled(5), probes=[probe([3, 3, 3])])
        self.rejected(folder, CODE.FAILED_PRECONDITION, "probe")

    def test_no_tokenizer(self):
        def strip(path):
            for name in ("tokenizer.model", "tokenizer.json"):
                (path / name).unlink()
        folder, _ = self.published.write(edit=strip)
        self.rejected(folder, CODE.NOT_FOUND, "tokenizer")

    def test_no_folder(self):
        self.rejected(self.published.root / "v000999-nothing", CODE.NOT_FOUND, "v000999-nothing")

    def test_too_big_for_the_memory(self):
        """Refused before a weight is read, and the daemon says what it would take."""
        alone = Published(self.folder.name + "/alone")
        folder, _ = alone.publish()
        with Llavad(f"watch: {alone.root}\nmemory_reserve_bytes: 1024GiB\n") as daemon:
            said = "MiB of memory with the KV cache (1048576.0 MiB of it by memory_reserve_bytes)"
            wait_until(lambda: said in daemon.get("/readyz")[1], "readiness says why")
            self.assertEqual(daemon.get("/healthz")[0], 200)
            with self.assertRaises(grpc.RpcError) as refused:
                daemon.load(folder)
            self.assertEqual(refused.exception.code(), CODE.RESOURCE_EXHAUSTED)
            self.assertIn(said, refused.exception.details())
            reloads = [name for name in daemon.metrics() if name.startswith("llava_model_reloads_total")]
            self.assertEqual(reloads, ['llava_model_reloads_total{outcome="rejected",reason="loading"}'])

    def test_too_big_beside_the_one_that_is_served(self):
        """Where the daemon sees a /proc/meminfo of its own, as in an LXC container."""
        alone = Published(self.folder.name + "/beside")
        _, live = alone.publish()
        folder, _ = alone.write(edit=wide)
        small, small_version = alone.write(rolled(1))
        memory = alone.root / "meminfo"
        alone_with = ["unshare", "--map-root-user", "--mount", "sh", "-c",
                      'mount --bind "$0" /proc/meminfo && exec "$@"', memory]

        def leave(mib):
            text = Path("/proc/meminfo").read_text()
            memory.write_text(re.sub(r"(?m)^MemAvailable:.*", f"MemAvailable: {mib << 10} kB", text))
        leave(1 << 20)
        if subprocess.run([*alone_with, "true"], capture_output=True).returncode != 0:
            self.skipTest("this machine lets nobody mount")
        with Llavad(f"watch: {alone.root}\nmemory_reserve_bytes: 8MiB\n" + AT_ONCE, under=alone_with).wait_ready() as daemon, \
                Load(daemon, people=1) as load:
            leave(50)
            with self.assertRaises(grpc.RpcError) as refused:
                daemon.load(folder)
            self.assertEqual(refused.exception.code(), CODE.RESOURCE_EXHAUSTED)
            for word in ("of memory beside the version that is served (8.0 MiB of it by memory_reserve_bytes), "
                         "50.0 MiB are available", "with `reload: swap` the old version would go first"):
                self.assertIn(word, refused.exception.details())
            load.wait_answers(2, live)
            daemon.load(small)  # for this one it is enough
            load.wait_answers(2, small_version)
        load.check(self)

    def test_the_folder_goes_while_it_is_live(self):
        folder, version = self.published.publish(rolled(6))
        self.daemon.wait_state(version, "live")
        shutil.rmtree(folder)
        self.load.wait_answers(4, version)
        self.daemon.load(next(p for p in self.published.root.iterdir() if p.name.endswith(self.good[:12])))
        wait_until(lambda: self.daemon.state(self.good) == "live", "the good one is back")


if __name__ == "__main__":
    unittest.main(verbosity=2)
