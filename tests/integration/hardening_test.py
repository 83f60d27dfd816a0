"""What compiler and linker did for the programs that are shipped, read from the files themselves."""
import os
import platform
import re
import subprocess
import unittest

PROGRAMS = [os.environ[name] for name in ("LLAVAD", "LLAVA", "LLAVA_TRAIN")]
ENDBR64 = bytes.fromhex("f30f1efa")  # where an indirect branch may land


def readelf(program, *options):
    return subprocess.run(["readelf", "--wide", *options, program], check=True, capture_output=True, text=True).stdout


def first_bytes(program, function, count):
    address = next(int(line.split()[1], 16) for line in readelf(program, "--syms").splitlines()
                   if line.split()[3:4] == ["FUNC"] and line.split()[-1] == function)
    for line in readelf(program, "--segments").splitlines():
        if line.split()[:1] == ["LOAD"]:
            offset, start, size = (int(line.split()[i], 16) for i in (1, 2, 4))
            if start <= address < start + size:
                with open(program, "rb") as file:
                    file.seek(offset + address - start)
                    return file.read(count)
    raise AssertionError(f"{function} is in no segment")


class HardeningTest(unittest.TestCase):
    def each(self, check):
        for program in PROGRAMS:
            with self.subTest(program=os.path.basename(program)):
                check(program)

    def test_position_independent(self):
        def check(program):
            self.assertRegex(readelf(program, "--file-header"), r"Type: +DYN")
            self.assertRegex(readelf(program, "--dynamic"), r"FLAGS_1\W.*PIE")
        self.each(check)

    def test_full_relro(self):
        def check(program):
            self.assertIn("GNU_RELRO", readelf(program, "--segments"))
            self.assertRegex(readelf(program, "--dynamic"), r"BIND_NOW|FLAGS_1\W.*NOW")
        self.each(check)

    def test_nothing_is_writable_and_executable(self):
        def check(program):
            segments = readelf(program, "--segments")
            self.assertRegex(segments, r"GNU_STACK +(0x[0-9a-f]+ +){5}RW +0")
            loaded = re.findall(r"^ +LOAD +(?:0x[0-9a-f]+ +){5}([R ][W ][E ]) ", segments, re.M)
            self.assertTrue(any("E" in flags for flags in loaded), segments)
            for flags in loaded:
                self.assertFalse("W" in flags and "E" in flags, segments)
            self.assertNotIn("TEXTREL", readelf(program, "--dynamic"))
        self.each(check)

    def test_stack_protector_and_fortify(self):
        def check(program):
            symbols = readelf(program, "--dyn-syms")
            self.assertIn(" __stack_chk_fail@", symbols)
            self.assertRegex(symbols, r" __(mem|str|read|v?s?n?printf|f|pread|recv|poll|fd)\w*_chk@GLIBC")
        self.each(check)

    @unittest.skipUnless(platform.machine() == "x86_64", "x86-64 alone has the instruction")
    def test_indirect_branches_have_marked_targets(self):
        self.each(lambda program: self.assertEqual(first_bytes(program, "main", len(ENDBR64)), ENDBR64))

    def test_libraries_are_not_looked_for_where_the_program_is_started(self):
        def check(program):
            for paths in re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", readelf(program, "--dynamic")):
                for path in paths.split(":"):
                    self.assertRegex(path, r"^(/|\$ORIGIN)")
        self.each(check)


if __name__ == "__main__":
    unittest.main()
