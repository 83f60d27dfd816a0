"""Tars of WebDataset as data: what Python's tarfile writes trains as the same rows and pictures beside a folder do."""
import io
import json
import os
import signal
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
COUNT = 12

RECIPE = """\
name: tars
output: %s
model: {checkpoint: %s}
save: {every_steps: 2, keep: 2}
data: %s
stages:
  - {name: align, train: [projector], data: {template: %s, workers: 2}, steps: %d, batch: 3, rate: 1.0e-3}
"""


def picture(number):
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (20 * number, 255 - 20 * number, 90)).save(out, "PNG")
    return out.getvalue()


def row(number, image=None):
    pictures = {"image": image} if image else {}
    return {"id": str(number), **pictures, "conversations": [
        {"from": "human", "value": "<image>\nWhich one?"}, {"from": "gpt", "value": f"number {number}"}]}


def member(name, data, **more):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, io.BytesIO(data)


def write_tar(path, members, form=tarfile.USTAR_FORMAT):
    with tarfile.open(path, "w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, data if info.isreg() else None)


class WebDatasetTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def run_command(self, *command):
        return subprocess.run([LLAVA_TRAIN, *map(str, command)], capture_output=True, text=True, timeout=240,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})

    def recipe(self, output, data, template="v1", steps=6):
        path = self.folder / f"{output}.yaml"
        path.write_text(RECIPE % (output, ROOT / "demo/checkpoint", data, template, steps))
        return path

    def losses(self, output, data, template="v1"):
        done = self.run_command("run", self.recipe(output, data, template))
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line)["loss"] for line in done.stdout.splitlines()]

    def write_shards(self, rows):
        """Three shards, one of each format; the last one's names are longer than a header's field."""
        forms = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
        for shard, form in enumerate(forms):
            name = "{:04}" if shard == 0 else "f" * 90 + "/" + "n" * 40 + "-{:04}"
            members = []
            for number in range(shard * COUNT // 3, (shard + 1) * COUNT // 3):
                members += [member(name.format(number) + suffix, data) for suffix, data in rows(number)]
            write_tar(self.folder / f"shard-{shard:03}.tar", members, form)

    def write_folder(self, rows):
        (self.folder / "pictures").mkdir()
        for number in range(COUNT):
            (self.folder / f"pictures/{number}.png").write_bytes(picture(number))
        (self.folder / "rows.json").write_text(json.dumps([rows(number) for number in range(COUNT)]))

    def test_shards_train_as_the_same_rows_beside_a_folder(self):
        self.write_folder(lambda number: row(number, f"{number}.png"))
        self.write_shards(lambda number: [(".json", json.dumps(row(number)).encode()), (".png", picture(number))])
        expected = self.losses("folder", "{files: [rows.json], images: pictures}")
        self.assertEqual(len(expected), 6)
        self.assertEqual(self.losses("tars", '{files: ["shard-{000..002}.tar"]}'), expected)

    def test_captions_train_as_rows_of_stage_one(self):
        self.write_folder(lambda number: row(number, f"{number}.png"))
        self.write_shards(lambda number: [(".png", picture(number)), (".txt", f"number {number}\n".encode())])
        expected = self.losses("folder", "{files: [rows.json], images: pictures}", "plain")
        self.assertEqual(self.losses("tars", '{files: ["shard-{000..002}.tar"]}', "plain"), expected)

    def test_pictures_of_held_out_rows_are_in_the_report(self):
        self.write_shards(lambda number: [(".json", json.dumps(row(number)).encode()), (".png", picture(number))])
        recipe = self.recipe("run", '{files: ["shard-{000..002}.tar"]}', steps=2)
        recipe.write_text(recipe.read_text().replace("batch: 3,", "batch: 3, validate: {rows: 3, every_steps: 1, samples: 2},"))
        done = self.run_command("run", recipe)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = (self.folder / "run/report.html").read_text()
        self.assertEqual(report.count('src="data:image/jpeg;base64,'), 2)
        self.assertNotIn("cannot be read", report)
        self.assertNotIn("cannot be asked", report)

    def test_a_tar_that_has_changed_ends_a_run_that_goes_on(self):
        self.write_shards(lambda number: [(".png", picture(number)), (".txt", f"number {number}".encode())])
        recipe = self.recipe("run", '{files: ["shard-{000..002}.tar"]}', steps=200)
        with subprocess.Popen([LLAVA_TRAIN, "run", recipe], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
            for _ in range(3):
                self.assertTrue(process.stdout.readline())
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75)
        recipe = self.recipe("run", '{files: ["shard-{000..002}.tar"]}', steps=200)
        shard = self.folder / "shard-001.tar"
        data = bytearray(shard.read_bytes())
        data[data.index(b"number 5") + 7] = ord("7")
        shard.write_bytes(data)
        done = self.run_command("run", recipe)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"{shard}: SHA-256 was ", done.stderr)

    def test_check_names_bad_members_and_counts_them(self):
        link = tarfile.TarInfo("2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        write_tar(self.folder / "a.tar", [
            member("0.json", json.dumps(row(0)).encode()), member("0.png", picture(0)),
            member("1.json", b"{"), member("1.png", picture(1)),
            member("2.txt", b"a caption"), (link, None),
            member("../3.txt", b"a caption"), member("../3.png", picture(3)),
            member("4.txt", b"a caption"), member("4.png", b"no picture"),
            member("5.txt", b"a caption"), member("5.mp4", b"film")])
        done = self.run_command("check", self.folder / "a.tar")
        self.assertEqual(done.returncode, 1, done.stderr)
        for line in ("a.tar: 1.json: is not valid JSON", "a.tar: 2.png: is a link", "a.tar: ../3.txt: has a name that leaves",
                     "a.tar: 4.txt: row '4': image ", "a.tar: 5.mp4: is of a kind"):
            self.assertIn(line, done.stdout)
        self.assertRegex(done.stdout, r"rows +6, 5 bad")

    def test_hostile_archives_are_refused(self):
        write_tar(self.folder / "whole.tar", [member("0.txt", b"a caption"), member("0.png", picture(0))])
        whole = (self.folder / "whole.tar").read_bytes()
        huge = tarfile.TarInfo("0.png")
        huge.size = 1 << 50
        for name, data in (("cut", whole[:1100]), ("rubbish", b"no tar" * 200),
                           ("huge", huge.tobuf(tarfile.GNU_FORMAT) + b"picture"),
                           ("name", tarfile.TarInfo.create_pax_global_header({"path": "x" * 3000000})[:2048])):
            with self.subTest(name):
                path = self.folder / f"{name}.tar"
                path.write_bytes(data)
                done = self.run_command("check", path)
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertIn(f"{name}.tar: ", done.stderr)

    def test_an_archive_that_was_cut_between_two_members_is_not_whole(self):
        path = self.folder / "cut.tar"
        write_tar(path, [member("0.txt", b"a caption"), member("0.png", picture(0)), member("1.txt", b"a caption")])
        whole = path.read_bytes()
        second = whole.index(b"1.txt\0")  # where its header begins
        path.write_bytes(whole[:second])
        done = self.run_command("check", path)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertIn(f"cut.tar: the archive ends at byte {second} without its end, expected two blocks of zeros", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
