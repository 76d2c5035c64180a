"""The environment that Spark needs, and the activation script that sets it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_BEGIN, _END = "# >>> medallion >>>", "# <<< medallion <<<"
_HOOK = "    if command -v _medallion_restore >/dev/null 2>&1 ; then _medallion_restore ; fi  # medallion"
_LATE_C2 = (  # ten times the defaults: short jobs are not slowed by the optimising compiler, long ones still get it
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)
_BLOCK = """
_medallion_set () {
    eval "_MEDALLION_HAD_$1=\\${$1+yes} _MEDALLION_OLD_$1=\\${$1-}"
    export "$1=$2"
}
_medallion_restore () {
    for _medallion_name in $_MEDALLION_NAMES ; do
        eval "_medallion_had=\\$_MEDALLION_HAD_$_medallion_name"
        if [ "$_medallion_had" = yes ] ; then
            eval "export $_medallion_name=\\"\\$_MEDALLION_OLD_$_medallion_name\\""
        else
            unset "$_medallion_name"
        fi
        unset "_MEDALLION_HAD_$_medallion_name" "_MEDALLION_OLD_$_medallion_name"
    done
    unset _MEDALLION_NAMES _medallion_name _medallion_had
    unset -f _medallion_restore
}
"""


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home)
    if java := shutil.which("java"):
        yield Path(java).resolve().parent.parent
    yield from sorted(Path("/usr/lib/jvm").glob("*"))


def java_version(home: Path) -> str:
    """What a Java says of itself, for example `17.0.15`; empty if it cannot be run."""
    try:
        told = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=30).stderr
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r'version "([^"]+)"', told)
    return found[1] if found else ""


def find_java() -> Path | None:
    """The home of a Java that runs Spark 4.1: 17 or 21, the one in use first."""
    for home in _candidates():
        if java_version(home).split(".")[0] in ("17", "21"):
            return home
    return None


def variables(venv: Path, root: Path, java: Path, archive: Path | None) -> dict[str, str]:
    """What `spark-submit` needs. Without `archive` the JVM is started without its loaded classes."""
    options = [f'-Dlog4j2.configurationFile="{(root / "spark-submit" / "log4j2.properties").as_uri()}"', *_LATE_C2]
    if archive:  # JVM messages on standard output would spoil the results of commands
        options += [f'-XX:SharedArchiveFile="{archive}"', "-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr"]
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return {
        "JAVA_HOME": str(java),
        "PYSPARK_DRIVER_PYTHON": str(venv / "bin" / "python"),
        "PYSPARK_PYTHON": str(venv / "bin" / "python"),
        "SPARK_DRIVER_MEMORY": "2g",
        "SPARK_HOME": str(venv / "lib" / library / "site-packages" / "pyspark"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SUBMIT_OPTS": " ".join(options),
    }


def write(venv: Path, values: dict[str, str]) -> None:
    """Put the variables into `activate` (bash, zsh, dash) and into `spark.env`, anew each time."""
    path = venv / "bin" / "activate"
    text = re.sub(rf"\n?{re.escape(_BEGIN)}.*{re.escape(_END)}\n", "", path.read_text(), flags=re.DOTALL)
    text = "".join(line for line in text.splitlines(keepends=True) if not line.rstrip().endswith("# medallion"))
    text = text.replace("deactivate () {\n", f"deactivate () {{\n{_HOOK}\n", 1)
    lines = [f"_medallion_set {name} {shlex.quote(value)}" for name, value in sorted(values.items())]
    names = f"_MEDALLION_NAMES={shlex.quote(' '.join(sorted(values)))}"
    block = "\n".join(["", _BEGIN, _BLOCK.strip(), names, *lines, "unset -f _medallion_set", _END, ""])
    _replace(path, text.rstrip("\n") + "\n" + block)
    _replace(venv / "spark.env", "".join(f"{name}={value}\n" for name, value in sorted(values.items())))


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)
