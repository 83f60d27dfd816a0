"""Plants one breach of every rule in a scratch repository and expects it to be found."""
import subprocess
import tempfile
import unittest
from pathlib import Path

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

    def tree(self, body, header="", cmake="llava_library(x SOURCES a.cc)"):
        return {"base/CMakeLists.txt": cmake, "base/a.h": GOOD.format("BASE_A") + header,
                "base/a.cc": '#include "base/a.h"\n' + body}

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
            "in no CMake target": self.tree("", cmake="llava_library(x SOURCES b.cc)"),
            "nobody includes it": {**self.tree(""), "base/lost.h": GOOD.format("BASE_LOST")},
        }.items():
            with self.subTest(want):
                self.assertIn(want, self.problems(files))

    def test_words_in_comments_and_literals_do_not_count(self):
        self.assertEqual(self.problems(self.tree('// using namespace std; sleep_for\nauto s = "std::thread";\n')), "")


if __name__ == "__main__":
    unittest.main()
