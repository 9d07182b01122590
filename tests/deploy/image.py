"""Runs what the Dockerfile says, step by step, without Docker: python -m tests.deploy.image (root, Linux).

This machine's own file system stands in for the base image, in a mount namespace of its own: /opt, /src, /data, /tmp
and /etc are private copies, everything else is read-only once the image is made. The program then runs as the image's
user, without any right, and a whole night has to end well; nothing but /data and /tmp may be writable.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PYTHON = os.environ.get(
    "IMAGE_PYTHON", "/usr/bin/python3"
)  # in place of the base image's; any user may run it

MOUNT_POINTS = (Path("/src"), Path("/data"))

PROOF = """
for path in / /usr /etc /opt/capillary-export /src; do
  if touch "$path/.proof" 2>/dev/null; then echo "$path can be written to"; exit 1; fi
done
test "$(id -u)" = 10001
capillary-export --version
capillary-export demo --ids 300 --out /data/demo-export
test -f /data/demo-export/current.json
"""


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, its lines joined."""

    word: str
    rest: str


def instructions(path: Path = DOCKERFILE) -> list[Instruction]:
    """The Dockerfile's instructions, comments left out."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [Instruction(line.split()[0], line.split(maxsplit=1)[1]) for line in joined]


def stages() -> list[list[Instruction]]:
    """The instructions of each FROM."""
    found: list[list[Instruction]] = []
    for one in instructions():
        if one.word == "FROM":
            found.append([])
        found[-1].append(one)
    return found


def script(context: Path) -> str:
    """All stages as one shell script, to be run in a mount namespace of its own."""
    build, final = stages()
    lines = ["set -eu", _ground(), *_steps(build, context), *_steps(final, context)]
    return "\n".join([*lines, _as_read_only(), _as_user(final)])


def _ground() -> str:
    """Private folders in place of an image's."""
    return f"""
mount --make-rprivate /
cp -a /etc {shlex.quote(os.environ["IMAGE_TMP"])}/etc && mount --bind {shlex.quote(os.environ["IMAGE_TMP"])}/etc /etc
for path in /opt /src /data; do mount -t tmpfs tmpfs $path; done
mkdir -p /opt/base && ln -s {shlex.quote(PYTHON)} /opt/base/python
export PATH=/opt/base:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"""


def _steps(stage: list[Instruction], context: Path) -> list[str]:
    """COPY within one file system is nothing where source and target are the same."""
    lines = []
    for word, rest in stage:
        if word == "RUN":
            lines.append(rest)
        elif word == "WORKDIR":
            lines.append(f"mkdir -p {rest} && cd {rest}")
        elif word == "COPY" and "--from=" not in rest:
            *sources, target = rest.split()
            lines.append(f"(cd {shlex.quote(str(context))} && cp -r {' '.join(sources)} /src/{target})")
        elif word in ("ARG", "ENV"):
            lines.append(f"export {rest}")
    return lines


def _as_read_only() -> str:
    return "mount -t tmpfs tmpfs /tmp\nmount -o remount,bind,ro /opt\nmount -o remount,bind,ro /etc\n" + (
        "mount -o remount,bind,ro /src\nmount -o remount,bind,ro /"
    )


def _as_user(final: list[Instruction]) -> str:
    user, group = next(rest for word, rest in final if word == "USER").split(":")
    return (
        f"cd /data\nexec setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs "
        f"--bounding-set=-all --inh-caps=-all env HOME=/data sh -euc {shlex.quote(PROOF)}"
    )


def main() -> int:
    """Build, run, and say how it ended."""
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        context = Path(folder) / "context"
        context.mkdir()
        os.environ["IMAGE_TMP"] = folder
        names = [one for word, rest in stages()[0] if word == "COPY" for one in rest.split()[:-1]]
        subprocess.run(["cp", "-r", *(str(ROOT / name) for name in names), str(context)], check=True)
        made = [path for path in MOUNT_POINTS if not path.exists()]
        for path in made:
            path.mkdir()
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script(context)], check=False)
        for path in made:
            path.rmdir()
    sys.stdout.write("The image's steps ended well.\n" if done.returncode == 0 else "They FAILED.\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
