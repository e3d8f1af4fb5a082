"""The servers under test, each in a process group of its own."""
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tool(name):
    """A tool of the system's packages: other things of the same name may come first on PATH."""
    for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin"):
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    raise SystemExit(f"{name} is not installed")


def put_away(folder):
    """Frees what a server stored and keeps its files, emptied, until the comparison ends: ext4 without a journal looks through
    every file that was removed in the last minutes whenever it makes one, which the next server's turn would pay for."""
    for path, _, names in os.walk(folder):
        for name in names:
            os.truncate(os.path.join(path, name), 0)
    pathlib.Path(folder).rename(tempfile.mkdtemp(prefix="emptied-", dir=pathlib.Path(folder).parent))


class Node:
    """A server with a folder of its own; `with` it."""

    ae = "ANY"
    # What its environment has besides.
    environment = {}

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.port = free_port()

    def command(self):
        raise NotImplementedError

    def ready(self):
        """It listens."""
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self):
        self.folder.mkdir(parents=True)
        command = self.command()
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(
            command, env={**ENVIRONMENT, **self.environment}, stdout=self.log, stderr=self.log, start_new_session=True
        )
        began = time.monotonic()
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() - began > 60:
                raise SystemExit(f"{command[0]} does not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.log.close()
            put_away(self.folder)


class Storescp(Node):
    """dcmtk's storescp, a process for each association, writing what it reads as it comes."""

    ae = "STORESCP"

    def __init__(self, folder, pdu=None):
        super().__init__(folder)
        self.pdu = pdu

    def command(self):
        pdu = ["-pdu", str(self.pdu)] if self.pdu else []
        out = self.folder / "out"
        out.mkdir()
        return [tool("storescp"), "--fork", "+B", "+xa", *pdu, "-aet", self.ae, "-od", str(out), str(self.port)]

    def stored(self):
        return sum(1 for _ in os.scandir(self.folder / "out"))


class Radroute(Node):
    """`radroute serve`. `to`: the port of the destination, if it has one; `tables`: more lines of configuration."""

    ae = "RADROUTE"
    # As systemd/radroute.service has it.
    environment = {"MALLOC_ARENA_MAX": "2"}

    def __init__(self, folder, to=None, classify="", tables="", destination=""):
        super().__init__(folder)
        self.to, self.classify, self.tables, self.destination = to, classify, tables, destination

    def command(self):
        root = pathlib.Path(__file__).parents[3]
        config = f"""
[node]
ae_title = "{self.ae}"
state_dir = "{self.folder}/state"
[listen]
address = "127.0.0.1:{self.port}"
max_associations = 80
max_associations_per_peer = 80
[limits]
min_free_disk = "1 MiB"
[classify]
model = "{root}/weights/radroute.safetensors"
{self.classify}
[log]
format = "json"
{self.tables}
"""
        if self.to:
            config += f"""
[[destination]]
name = "sink"
ae_title = "SINK"
address = "127.0.0.1:{self.to}"
{self.destination}
[routing]
default = ["sink"]
"""
        (self.folder / "config.toml").write_text(config)
        return [os.environ["RADROUTE"], "serve", "--config", str(self.folder / "config.toml")]
