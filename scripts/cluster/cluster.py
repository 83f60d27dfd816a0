"""A Kubernetes cluster on this machine's loopback: a real control plane, CoreDNS, and nodes that run containers.

What it lacks: kube-proxy (the address of a Service routes nowhere; headless Services work), a network plugin that enforces
NetworkPolicies, storage classes, a metrics API. Needs root; the programs are those of scripts/cluster/programs.
"""
import csv
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / ".deps/cluster"
CGROUPS = Path("/sys/fs/cgroup")
DNS = "10.99.0.1"
PAUSE = "localhost/pause:1"
UP_SECONDS = 180


def until(what, condition, seconds=UP_SECONDS):
    """Calls condition until it returns something true, and returns that; raises TimeoutError that names what."""
    give_up, nothing = time.monotonic() + seconds, threading.Event()
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what}: not after {seconds} s")
        nothing.wait(0.5)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def write_pause_image(folder):
    """The container that holds a pod's namespaces, as an archive of `docker save`."""
    folder.mkdir(parents=True)
    subprocess.run(["gcc", "-static", "-Os", "-x", "c", "-", "-o", folder / "pause"], check=True, text=True,
                   input="#include <unistd.h>\nint main() { for (;;) pause(); }\n")
    with tarfile.open(folder / "layer.tar", "w") as layer:
        layer.add(folder / "pause", "pause")
    digest = hashlib.sha256((folder / "layer.tar").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/pause"]},
         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}}))
    (folder / "manifest.json").write_text(json.dumps([{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]))
    with tarfile.open(folder / "image.tar", "w") as image:
        for name in ("manifest.json", "config.json", "layer.tar"):
            image.add(folder / name, name)
    return folder / "image.tar"


class Processes:
    """Programs that run until stop(), their output in files."""

    def __init__(self, logs):
        self.logs, self.running = logs, []
        logs.mkdir(parents=True)
        path = [PROGRAMS / "bin", PROGRAMS / "tree/usr/bin", PROGRAMS / "tree/usr/sbin", os.environ["PATH"]]
        self.environment = {**os.environ, "PATH": ":".join(map(str, path))}

    def start(self, name, *command):
        with open(self.logs / f"{name}.log", "wb") as log:
            process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=subprocess.STDOUT, env=self.environment)
        self.running.append((name, process))
        return process

    def check(self):
        for name, process in self.running:
            if process.poll() is not None:
                tail = (self.logs / f"{name}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{tail}")

    def stop(self):
        for _, process in reversed(self.running):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


class Node:
    """containerd and a kubelet, with an address that never leaves the machine, a bridge and cgroups of its own."""

    def __init__(self, cluster, number, images):
        self.cluster, self.name = cluster, f"node-{number}"
        self.folder = cluster.folder / self.name
        self.address, self.bridge, self.subnet = f"10.99.0.{10 + number}", f"kbr{number}", f"10.245.{number}.0/24"
        self.socket = self.folder / "containerd.sock"
        self.folder.mkdir()
        cluster.add_address(self.address)
        self._forward("-I")
        self._make_cgroups()
        self._start_containerd()
        for image in images:
            self.ctr("images", "import", image)
        self._start_kubelet()

    def ctr(self, *arguments):
        subprocess.run(["ctr", "-a", self.socket, "-n", "k8s.io", *arguments], check=True, stdout=subprocess.DEVNULL,
                       env=self.cluster.processes.environment)

    def _forward(self, change):
        """Pods of one node reach those of the other, also where a Docker engine has closed what is forwarded."""
        subprocess.run(["iptables", change, "FORWARD", "-i", "kbr+", "-o", self.bridge, "-j", "ACCEPT"], check=change == "-I")

    def _make_cgroups(self):
        for controller in CGROUPS.iterdir():
            group = controller / self.name
            if controller.is_dir() and not controller.is_symlink() and (controller / "cgroup.procs").exists():
                group.mkdir(exist_ok=True)
                for name in ("cpuset.cpus", "cpuset.mems"):
                    if (group / name).exists():
                        (group / name).write_text((controller / name).read_text())

    def _start_containerd(self):
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [
            {"type": "bridge", "bridge": self.bridge, "isGateway": True, "ipMasq": False,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": self.subnet}]], "routes": [{"dst": "0.0.0.0/0"}],
                      "dataDir": str(self.folder / "ipam")}}, {"type": "loopback"}]}
        (self.folder / "cni").mkdir()
        (self.folder / "cni/10-bridge.conflist").write_text(json.dumps(network))
        (self.folder / "containerd.toml").write_text(f"""
version = 2
root = "{self.folder}/root"
state = "{self.folder}/state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PROGRAMS}/tree/usr/lib/cni"
    conf_dir = "{self.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
""")
        self.cluster.processes.start(f"{self.name}-containerd", "containerd", "-c", self.folder / "containerd.toml")
        until(f"{self.name}: containerd", self.socket.exists)

    def _start_kubelet(self):
        # The default thresholds of eviction are shares of a disk that others fill too, and a kubelet clears the folder of logs of
        # pods that it does not know.
        settings = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "address": self.address,
                    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
                    "authorization": {"mode": "AlwaysAllow"}, "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{self.name}",
                    "failSwapOn": False, "failCgroupV1": False, "containerRuntimeEndpoint": f"unix://{self.socket}",
                    "clusterDNS": [DNS], "clusterDomain": "cluster.local", "resolvConf": "/etc/resolv.conf", "oomScoreAdj": 0,
                    "healthzPort": 0, "podLogsDir": str(self.folder / "pods"), "imageGCHighThresholdPercent": 100,
                    "evictionHard": {"nodefs.available": "1Gi", "imagefs.available": "1Gi", "memory.available": "100Mi",
                                     "nodefs.inodesFree": "1%", "imagefs.inodesFree": "1%"}}
        (self.folder / "kubelet.json").write_text(json.dumps(settings))
        self.cluster.processes.start(
            f"{self.name}-kubelet", "kubelet", "--config", self.folder / "kubelet.json", "--kubeconfig", self.cluster.kubeconfig,
            "--root-dir", self.folder / "kubelet", "--cert-dir", self.folder / "pki", "--hostname-override", self.name,
            "--node-ip", self.address)

    def clean(self):
        """After its processes ended: what they mounted and made in the kernel."""
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False)
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, stderr=subprocess.DEVNULL)
        self._forward("-D")
        for controller in CGROUPS.iterdir():
            for group, _, _ in os.walk(controller / self.name, topdown=False):
                try:
                    os.rmdir(group)
                except OSError:
                    pass  # A container that outlived its node is still in it.


class Cluster:
    def __init__(self, folder, images, nodes=2):
        """images: archives of `docker save` that every node has."""
        self.folder, self.addresses, self.nodes = Path(folder), [], []
        self.kubeconfig = self.folder / "kubeconfig"
        (self.folder / "pki").mkdir(parents=True)
        self.processes = Processes(self.folder / "logs")
        try:
            self._start_control_plane()
            self._start_dns()
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            pause = write_pause_image(self.folder / "pause")
            self.nodes = [Node(self, number, [pause, *images]) for number in range(1, nodes + 1)]
            until("all nodes", lambda: len(self.get("nodes")["items"]) == nodes)
            self.wait("nodes", "--all", "condition=Ready")
        except BaseException:
            self.stop()
            raise

    def kubectl(self, *arguments, data=None, check=True):
        """What it printed; input: text, or an object that is sent as JSON."""
        text = json.dumps(data) if data is not None and not isinstance(data, str) else data
        done = subprocess.run(["kubectl", "--kubeconfig", self.kubeconfig, *map(str, arguments)], input=text, text=True,
                              capture_output=True, env=self.processes.environment)
        if check and done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def wait(self, kind, which, condition, seconds=UP_SECONDS, namespace="default"):
        self.kubectl("wait", kind, which, f"--for={condition}", f"--timeout={seconds}s", "--namespace", namespace)

    def add_address(self, address):
        known = subprocess.run(["ip", "addr", "show", "dev", "lo"], capture_output=True, text=True, check=True).stdout
        if f" {address}/" not in known:
            subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
            self.addresses.append(address)

    def _start_control_plane(self):
        pki, start = self.folder / "pki", self.processes.start
        token = secrets.token_hex(16)
        pki.chmod(0o700)
        with open(pki / "tokens.csv", "w", newline="") as file:
            csv.writer(file).writerow([token, "admin", "admin", "system:masters"])
        openssl = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=pki)
        openssl("genrsa", "-out", "sa.key", "2048")
        openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=cluster", "-keyout", "ca.key", "-out", "ca.crt")
        etcd, peers, server = (f"127.0.0.1:{free_port()}" for _ in range(3))
        start("etcd", "etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", f"http://{etcd}", "--advertise-client-urls",
              f"http://{etcd}", "--listen-peer-urls", f"http://{peers}", "--initial-advertise-peer-urls", f"http://{peers}",
              "--initial-cluster", f"default=http://{peers}")
        start("apiserver", "kube-apiserver", "--etcd-servers", f"http://{etcd}", "--bind-address", "127.0.0.1", "--advertise-address",
              "127.0.0.1", "--secure-port", server.rpartition(":")[2], "--cert-dir", pki / "apiserver", "--token-auth-file",
              pki / "tokens.csv", "--authorization-mode", "Node,RBAC", "--client-ca-file", pki / "ca.crt",
              "--service-cluster-ip-range", "10.96.0.0/16", "--service-account-issuer", "https://kubernetes.default.svc",
              "--service-account-key-file", pki / "sa.pub", "--service-account-signing-key-file", pki / "sa.key",
              "--endpoint-reconciler-type", "none", "--allow-privileged=true", "--kubelet-preferred-address-types", "InternalIP")
        # The server's certificate is its own and new each time, so that nobody signed it; it is on loopback.
        self.kubeconfig.touch(0o600)
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"https://{server}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "c", "user": {"token": token}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}))
        until("kube-apiserver", lambda: self.processes.check() or self.kubectl("get", "--raw", "/readyz", check=False) == "ok")
        as_admin = [word for name in ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
                    for word in (f"--{name}", self.kubeconfig)] + ["--bind-address", "127.0.0.1", "--leader-elect=false"]
        start("controller-manager", "kube-controller-manager", *as_admin, "--service-account-private-key-file", pki / "sa.key",
              "--root-ca-file", pki / "apiserver/apiserver.crt", "--use-service-account-credentials=true", "--secure-port", free_port())
        start("scheduler", "kube-scheduler", *as_admin, "--secure-port", free_port())
        until("default service account", lambda: self.kubectl("get", "serviceaccount", "default", check=False))

    def _start_dns(self):
        self.add_address(DNS)
        corefile = self.folder / "Corefile"
        corefile.write_text(f"cluster.local {{\n  bind {DNS}\n  kubernetes cluster.local {{\n    kubeconfig {self.kubeconfig} c\n    ttl 1\n  }}\n}}\n")
        self.processes.start("coredns", "coredns", "-conf", corefile)

    def logs(self, pod, namespace):
        return self.kubectl("logs", "--namespace", namespace, pod, check=False)

    def stop(self):
        """Pods first: a container outlives its kubelet and its containerd."""
        if self.nodes:
            self.kubectl("delete", "namespace", "models", "--ignore-not-found", "--wait", "--timeout=120s", check=False)
        self.processes.stop()
        for node in self.nodes:
            node.clean()
        for address in self.addresses:
            subprocess.run(["ip", "addr", "del", f"{address}/32", "dev", "lo"], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
