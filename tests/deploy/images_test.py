"""The Dockerfile and what compose.yaml starts, without a Docker engine (scripts/image-check has one): hadolint, and every file held
against the program that reads it."""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())


def stages():
    """{name: its lines}."""
    parts = re.split(r"(?m)^FROM (\S+) AS (\S+)$", DOCKERFILE)
    return {parts[i + 1]: parts[i + 2] for i in range(1, len(parts), 3)}


def check(yaml_file, **changes):
    """What `llavad --check` says about a file of options, without those that name files of the image."""
    options = {**yaml.safe_load(yaml_file.read_text()), **changes}
    options = {key: value for key, value in options.items() if value is not None}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(options, file)
        file.flush()
        return subprocess.run([os.environ["LLAVAD"], "--config", file.name, "--check"], capture_output=True, text=True)


class ImagesTest(unittest.TestCase):
    def test_hadolint_finds_nothing(self):
        hadolint = Path(sys.executable).parent / "hadolint"
        said = subprocess.run([hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True)
        self.assertEqual((said.stdout, said.returncode), ("", 0))

    def test_every_target_is_there_and_is_nobody(self):
        made = stages()
        self.assertLessEqual({"llavad", "llava-train", "llavad-cuda", "llava-train-cuda"}, set(made))
        self.assertIn("USER 10001:10001", made["base"])
        self.assertIn("STOPSIGNAL SIGTERM", made["base"])
        for name in ("llavad", "llava-train"):
            self.assertRegex(DOCKERFILE, rf"(?m)^FROM base AS {name}$")
            self.assertRegex(DOCKERFILE, rf"(?m)^FROM {name} AS {name}-cuda$")
            self.assertNotIn("USER", made[name] + made[name + "-cuda"])
            self.assertIn("HEALTHCHECK", made[name])
            # Libraries before programs: a source edit makes the last layer anew, not that of LibTorch.
            self.assertLess(made[name].index("/out/lib/llava"), made[name].index("/out/bin"))
            for label in ("title", "version", "revision", "licenses", "description"):
                self.assertIn(f"org.opencontainers.image.{label}=", made[name])

    def test_what_the_dockerfile_copies_is_there(self):
        for stage in stages().values():
            for sources in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", stage):
                for source in sources.split():
                    self.assertTrue((ROOT / source).exists(), source)

    def test_what_compose_mounts_is_there(self):
        volumes = set(COMPOSE["volumes"])
        for name, service in COMPOSE["services"].items():
            for mount in service.get("volumes", []):
                source = mount.split(":")[0]
                with self.subTest(name, mount=mount):
                    self.assertTrue(source in volumes or (DOCKER / source).exists())

    def test_compose_gives_no_more_rights_than_are_needed(self):
        for name, service in COMPOSE["services"].items():
            with self.subTest(name):
                self.assertIs(service["read_only"], True)
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
                self.assertTrue(all(port.startswith("127.0.0.1:") for port in service.get("ports", [])))
                self.assertNotIn("latest", service["image"].partition(":")[2])

    def test_a_container_gets_more_time_than_the_drain_takes(self):
        said = subprocess.run([os.environ["LLAVAD"], "--print-config"], capture_output=True, text=True, check=True).stdout
        drain = int(re.search(r"drain_timeout: (\d+)s", said)[1])
        self.assertGreater(int(COMPOSE["services"]["llavad-1"]["stop_grace_period"].removesuffix("s")), drain)

    def test_llavad_reads_its_files(self):
        for file in (DOCKER / "llavad.yaml", DOCKER / "compose/llavad.yaml"):
            said = check(file, checkpoint=str(ROOT / "demo/checkpoint"))
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_promtool_reads_the_configuration_of_prometheus(self):
        tool = ROOT / ".deps/outside-tools/promtool"
        if not tool.exists():
            subprocess.run([ROOT / "scripts/outside-checks", "--install", "promtool"], check=True)
        with tempfile.TemporaryDirectory() as folder:  # as compose mounts them
            for file in (DOCKER / "compose/prometheus.yml", ROOT / "deploy/alerts/llavad.yaml"):
                (Path(folder) / file.name).write_text(file.read_text())
            said = subprocess.run([tool, "check", "config", "prometheus.yml"], cwd=folder, capture_output=True, text=True)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_prometheus_and_the_balancer_name_services_and_ports_that_are_there(self):
        services = set(COMPOSE["services"])
        text = (DOCKER / "compose/prometheus.yml").read_text()
        targets = re.findall(r'"([\w-]+):(\d+)"', text)
        self.assertLessEqual({name for name, _ in targets}, services)
        balancer = (DOCKER / "compose/haproxy.cfg").read_text()
        servers = re.findall(r"(?m)^  server (\S+) (\S+):(\d+)$", balancer)
        self.assertEqual({name for _, name, _ in servers}, {"llavad-1", "llavad-2"})
        options = yaml.safe_load((DOCKER / "compose/llavad.yaml").read_text())
        ports = {options[key].rpartition(":")[2] for key in ("listen", "http", "metrics")}
        self.assertLessEqual({port for *_, port in servers} | set(re.findall(r"check port (\d+)", balancer)), ports)


if __name__ == "__main__":
    unittest.main()
