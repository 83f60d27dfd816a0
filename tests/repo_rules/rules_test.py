"""Plants one breach of every rule in a scratch repository and expects it to be found."""
import subprocess
import tempfile
import unittest
from pathlib import Path

import rooms
import rules

GOOD = '#ifndef LLAVA_{0}_H_\n#define LLAVA_{0}_H_\nint F();\n#endif\n'


class RulesTest(unittest.TestCase):
    def problems(self, files):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            subprocess.run(["git", "init", "-q", folder], check=True)
            subprocess.run(["git", "-C", folder, "add", "-A"], check=True)
            return "\n".join(rules.check(root))

    def tree(self, body, header="", cmake="llava_library(llava_base SOURCES a.cc)"):
        return {"base/CMakeLists.txt": cmake, "base/a.h": GOOD.format("BASE_A") + header,
                "base/a.cc": '#include "base/a.h"\n' + body}

    def room_above_base(self, deps, include):
        return {**self.tree(""), "model/config/CMakeLists.txt": f"llava_library(llava_model_config SOURCES c.cc {deps})",
                "model/config/c.cc": include + "int c;\n"}

    def untested(self, path):
        return {"tests/repo_rules/untested.txt": f"# Only shrinks.\n{path}\n"}

    def test_long_files_have_a_test_or_stand_in_the_list(self):
        long = self.tree("\n" * 100)
        tested = {"tests/unit/base/CMakeLists.txt": "llava_test(t SOURCES a_test.cc)",
                  "tests/unit/base/a_test.cc": "int x;\n"}
        self.assertEqual(self.problems({**long, **tested}), "")
        self.assertEqual(self.problems({**long, **self.untested("base/a.cc")}), "")
        self.assertIn("drop the line", self.problems({**long, **tested, **self.untested("base/a.cc")}))

    def test_a_good_tree_has_no_problem(self):
        self.assertEqual(self.problems(self.tree("int F() { return 1'000; }\n")), "")

    def test_each_breach_is_found(self):
        long_function = "int F() {\n" + "  f();\n" * 70 + "}\n"
        for want, files in {
            "function F has 72 lines": self.tree(long_function),
            "function Method has": self.tree("class C {\n void Method() {\n" + " g();\n" * 80 + "}\n};\n"),
            "501 lines": self.tree("\n" * 500),
            "101 columns": self.tree("//" + "x" * 99 + "\n"),
            "sleep_for": self.tree("void G() { std::this_thread::sleep_for(x); }\n"),
            "steady_clock::now": self.tree("auto t = std::chrono::steady_clock::now();\n"),
            "std::thread": self.tree("std::thread t;\n"),
            "TODO": self.tree("// TODO: later\n"),
            "using namespace": self.tree("using namespace std;\n"),
            "may not include model": self.tree('#include "model/network/llava.h"\n'),
            "by its full path": self.tree('#include "a.h"\n'),
            "include guard": {**self.tree(""), "base/a.h": "int F();\n"},
            "must include": {**self.tree(""), "base/a.cc": "#include <vector>\n"},
            "in no CMake target": self.tree("", cmake="llava_library(llava_base SOURCES b.cc)"),
            "nobody includes it": {**self.tree(""), "base/lost.h": GOOD.format("BASE_LOST")},
            "function A::A has 72 lines": self.tree("A::A() : a_(1), b_{2} {\n" + " f();\n" * 70 + "}\n"),
            "function B::B has 81 lines": self.tree("B::B()\n    : a_{1},\n" + " b_(f({1})),\n" * 78 + " c_(2) {}\n"),
            "90th percentile of its functions has 40 lines":
                self.tree("".join(f"int F{i}() {{\n{' f();' + chr(10)}" + " f();\n" * 37 + "}\n" for i in range(9))),
            "llava::C is defined in base/a.cc too":
                {**self.tree("namespace llava {\nclass C {};\n}\n",
                             cmake="llava_library(llava_base SOURCES a.cc b.cc)"),
                 "base/b.cc": "namespace llava {\nstruct C { int x; };\n}\n"},
            "CMakeLists.txt:2: 101 columns": self.tree("", cmake="llava_library(llava_base SOURCES a.cc)\n#" + "x" * 100),
            "README.md:1: 141 columns": {**self.tree(""), "README.md": "x" * 141 + "\n"},
            "no test of tests/e2e/CMakeLists.txt runs it":
                {**self.tree(""), "tests/e2e/CMakeLists.txt": "# lost\n", "tests/e2e/lost_test.py": "pass\n"},
            "is no room": {**self.tree(""), "base/new/CMakeLists.txt": "llava_library(llava_base_new SOURCES x.cc)",
                           "base/new/x.cc": "int x;\n"},
            "21 units": {**self.tree("", cmake="llava_library(llava_base SOURCES a.cc "
                                     + " ".join(f"u{i}.cc" for i in range(20)) + ")"),
                         **{f"base/u{i}.cc": "int x;\n" for i in range(20)}},
            "defines no llava_base": self.tree("", cmake="llava_library(base SOURCES a.cc)"),
            "links llava_rpc, which ROOMS does not allow":
                self.tree("", cmake="llava_library(llava_base SOURCES a.cc DEPS llava_rpc)"),
            "does not link llava_base, which ROOMS allows": self.room_above_base("", '#include "base/a.h"\n'),
            "lets model/config include base, which it does not": self.room_above_base("DEPS llava_base", ""),
            "beside a program of main.cc alone":
                self.tree("", cmake="llava_library(llava_base SOURCES a.cc)\nllava_library(more SOURCES a.cc)"),
            "tests/unit mirrors the tree":
                {**self.tree(""), "tests/unit/base/CMakeLists.txt": "llava_test(t SOURCES b_test.cc)",
                 "tests/unit/base/b_test.cc": "int x;\n"},
            "base/a.cc:1: 101 lines without tests/unit/base/a_test.cc": self.tree("\n" * 100),
            "untested.txt:2: base/a.cc has a test": {**self.tree(""), **self.untested("base/a.cc")},
            "untested.txt:2: base/b.cc is gone": {**self.tree(""), **self.untested("base/b.cc")},
            "the arrows are not those of ROOMS":
                {**self.tree(""), "docs/architecture.md": rooms.ARROWS_BEGIN + "base <- client\n```\n"},
            "docs/threat-model.md:2: there is no test b_test":
                {**self.tree(""), "docs/threat-model.md": "`a_test`\n`b_test`\n",
                 "tests/unit/base/CMakeLists.txt": "llava_test(t SOURCES a_test.cc)",
                 "tests/unit/base/a_test.cc": "int x;\n"},
            "lacks the arrows": {**self.tree(""), "docs/architecture.md": "# Architecture\n"},
        }.items():
            with self.subTest(want):
                self.assertIn(want, self.problems(files))

    def test_what_looks_like_a_breach_and_is_none(self):
        for body in (
            "namespace llava {\nnamespace {\nclass C {};\n}\n}\nnamespace a {\nclass C {};\n}\n",
            "class C;\nclass C { void Long(" + "int a,\n" * 80 + "int b) {} };\n",
            "int F(int x) { return x; }\nconst int kTable[] = {\n" + "  1,\n" * 80 + "};\n",
            "#define LONG(x) \\\n" + "  f(x); \\\n" * 80 + "  g(x)\nint F() { return 1; }\n",
        ):
            with self.subTest(body[:40]):
                self.assertEqual(self.problems(self.tree(body)), "")

    def test_words_in_comments_and_literals_do_not_count(self):
        self.assertEqual(self.problems(self.tree('// using namespace std; sleep_for\nauto s = "std::thread";\n')), "")


if __name__ == "__main__":
    unittest.main()
