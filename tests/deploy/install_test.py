"""`cmake --install`: a tree that runs wherever it lies, with the libraries that it needs and no others, and their notices."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ["LLAVAD"]).resolve().parents[1]
PROGRAMS = ("llavad", "llava-train", "llava")
# What every Debian has, and the tree does not bring.
OF_THE_SYSTEM = re.compile(r"(ld-linux|linux-vdso|lib(c|m|pthread|dl|rt|util|resolv|gcc_s|stdc\+\+)\.so)")
# The packages that the programs may load libraries of, or have inside. OpenCV's codecs, and GDAL behind them, are not among them.
OF_ALL = {"libabsl20220623", "libboost1.81-dev", "libcli11-dev", "libgrpc++1.51", "libgrpc29", "libprotobuf32", "libssl3", "zlib1g",
          "libcares2", "libc-ares2", "libre2-9", "libboost-json1.81.0", "libboost-container1.81.0", "libwebp7"}
OF_LIBTORCH = {"torch", "nvidia-cuda-runtime", "nvidia-cuda-cupti", "sentencepiece"}
OF_BOTH = OF_ALL | OF_LIBTORCH | {"libfmt9", "libgif7", "libjpeg62-turbo", "libpng16-16", "libprometheus-cpp-core1.0", "libspdlog1.10",
                                  "libspdlog-dev", "libyaml-cpp0.7", "libboost-url1.81.0", "libcivetweb1",
                                  "libprometheus-cpp-pull1.0", "libprotobuf-lite32", "libpcre2-8-0", "libutf8proc2"}
# What Debian's OpenCV core links, of which the trainer draws with a little.
OF_OPENCV = {"libblas3", "libbsd0", "libgfortran5", "libglvnd0", "libglx0", "liblapack3", "libmd0", "libopencv-core406",
             "libopencv-imgproc406", "libquadmath0", "libtbb12", "libx11-6", "libxau6", "libxcb1", "libxdmcp6"}
ALLOWED = {
    "llava": OF_ALL | {"libboost-url1.81.0", "libbsd0", "libedit2", "libmd0", "libtinfo6"},
    "llavad": OF_BOTH,
    "llava-train": OF_BOTH | OF_OPENCV | {"libgloo-dev", "libsqlite3-0"}}


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        installed = Path(cls.folder.name) / "installed"
        said = subprocess.run(["cmake", "--install", BUILD, "--prefix", installed], capture_output=True, text=True)
        assert said.returncode == 0, said.stdout[-2000:] + said.stderr
        cls.tree = Path(cls.folder.name) / "moved here"  # nothing may remember where it was
        installed.rename(cls.tree)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_alone(self, program, *arguments):
        return subprocess.run([self.tree / "bin" / program, *arguments], capture_output=True, text=True,
                              env={"PATH": "/nowhere"}, cwd="/")

    def bill(self, program):
        return json.loads((self.tree / "share/doc" / program / f"{program}.spdx.json").read_text())

    def test_the_programs_run(self):
        for program in PROGRAMS:
            with self.subTest(program):
                said = self.run_alone(program, "--version")
                self.assertEqual((said.returncode, said.stderr), (0, ""))
                self.assertRegex(said.stdout, r"^\d+\.\d+\.\d+\n")
        said = self.run_alone("llavad", "generate", ROOT / "demo/checkpoint", "--image", ROOT / "demo/pictures/two-shapes.png",
                              "--prompt", "What is in the picture?")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertGreater(len(said.stdout.split()), 2)

    def test_libraries_come_from_the_tree_or_are_every_debians(self):
        for program in PROGRAMS:
            listed = subprocess.run(["ldd", self.tree / "bin" / program], capture_output=True, text=True, check=True).stdout
            self.assertNotIn("not found", listed)
            for name, path in re.findall(r"^\s*(\S+) => (.+) \(0x", listed, re.M):
                if not OF_THE_SYSTEM.match(name):
                    self.assertEqual(Path(path).resolve().parent, (self.tree / "lib/llava").resolve(), f"{program}: {name}")

    def test_nothing_else_is_brought(self):
        for program in PROGRAMS:
            names = {package["name"] for package in self.bill(program)["packages"]
                     if not package["externalRefs"][0]["referenceLocator"].startswith("pkg:cargo/")} - {program}
            self.assertEqual(names - ALLOWED[program], set(), program)
        loaded = set()
        for program in PROGRAMS:
            listed = subprocess.run(["ldd", self.tree / "bin" / program], capture_output=True, text=True, check=True).stdout
            loaded |= {Path(path).resolve() for path in re.findall(r"^\s*\S+ => (.+) \(0x", listed, re.M)}
        self.assertEqual({file.resolve() for file in (self.tree / "lib/llava").iterdir()} - loaded, set())
        self.assertNotIn("torch", {package["name"] for package in self.bill("llava")["packages"]})

    def test_every_part_has_its_licence_and_stands_in_the_bill(self):
        for program in PROGRAMS:
            doc = self.tree / "share/doc" / program
            bill = self.bill(program)
            self.assertEqual(bill["spdxVersion"], "SPDX-2.3")
            identifiers = {package["SPDXID"] for package in bill["packages"]}
            self.assertEqual(len(identifiers), len(bill["packages"]))
            related = {relation["relatedSpdxElement"] for relation in bill["relationships"]}
            self.assertEqual(related, identifiers)
            for package in bill["packages"]:
                self.assertRegex(package["versionInfo"], r"\d")
                is_crate = package["externalRefs"][0]["referenceLocator"].startswith("pkg:cargo/")
                name = f"{package['name']}@{package['versionInfo']}" if is_crate else package["name"]
                text = doc / ("copyright" if name == program else f"licences/{name}")
                self.assertGreater(len(text.read_text(errors="replace")), 500, text)

    def test_manuals_and_completions(self):
        share = self.tree / "share"
        for program in PROGRAMS:
            self.assertIn(f".TH {program.upper()} 1", (share / f"man/man1/{program}.1").read_text().replace("\\-", "-"))
            self.assertIn(program, (share / f"bash-completion/completions/{program}").read_text())
            self.assertIn(f"#compdef {program}", (share / f"zsh/site-functions/_{program}").read_text())
            self.assertIn(f"complete -c {program}", (share / f"fish/vendor_completions.d/{program}.fish").read_text())
        bash = subprocess.run(["bash", "-n", share / "bash-completion/completions/llavad"], capture_output=True, text=True)
        self.assertEqual(bash.stderr, "")

    def test_units_and_an_example_with_every_option(self):
        for unit in ("llavad", "llava-train"):
            self.assertTrue((self.tree / f"lib/systemd/system/{unit}.service").exists())
        example = self.tree / "share/doc/llavad/examples/llavad.yaml"
        documented = set(re.findall(r"(?m)^\| `([a-z_]+)` \|", (ROOT / "docs/configuration.md").read_text()))
        named = set(re.findall(r"(?m)^#? ?([a-z_]+):", example.read_text()))
        self.assertGreater(len(documented), 20)
        self.assertEqual(documented - named, set())

    def test_without_libtorch_the_client_still_runs(self):
        alone = Path(self.folder.name) / "client"
        said = subprocess.run(["cmake", "--install", BUILD, "--prefix", alone, "--component", "llava"], capture_output=True, text=True)
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertEqual([file.name for file in (alone / "bin").iterdir()], ["llava"])
        self.assertFalse((alone / "lib").exists())
        said = subprocess.run([alone / "bin/llava", "--version"], capture_output=True, text=True, env={"PATH": "/nowhere"})
        self.assertEqual(said.returncode, 0, said.stderr)
        shutil.rmtree(alone)


if __name__ == "__main__":
    unittest.main()
