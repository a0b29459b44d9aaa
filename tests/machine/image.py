"""Make the disks of virtual machines: a small Debian, the same with the agent installed, and a film for its devices.

Everything lies in the cache folder of :func:`tests.machine.emulator.cache`. Needs root, debootstrap and e2fsprogs;
another architecture needs qemu-user-static and its binfmt entry. A Debian takes five to ten minutes, once.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.machine.emulator import BROKER_PORT, Target, cache

ROOT = Path(__file__).resolve().parents[2]
GUEST = Path(__file__).parent / "guest.sh"
SIZE = "6G"
PACKAGES = """systemd systemd-sysv systemd-timesyncd udev dbus kmod iproute2 openssh-server ca-certificates python3
 procps sudo lz4 libportaudio2 libstdc++6"""
DEVICES = "v4l2loopback-dkms v4l2loopback-utils v4l-utils alsa-utils ffmpeg psmisc sqlite3"
"""For a camera and a microphone that play a film. Left out for another architecture: under qemu-user a kernel module
takes longer to compile than all the rest, so the agent's camera is missing there."""
QUIET = (
    "apt-daily.timer",
    "systemd-networkd-wait-online.service",
    "networking.service",
    "systemd-binfmt.service",
    "apt-daily-upgrade.timer",
    "e2scrub_reap.service",
    "e2scrub_all.timer",
    "dpkg-db-backup.timer",
)
MEDIA = {"kiosk": (0, 60), "pair": (5, 12), "signer": (32, 8)}
"""Films on the media disk: the second of kiosk.mp4 at which each begins, and its length; ``pair`` shows two people."""
GUEST_FILM = "/var/lib/film.mp4"
"""The same film in the guest, as a file."""
FILM_FILE = "film.mp4"
"""The film on this host, in the cache."""
FILM = (640, 480, 5)
"""Width, height and pictures per second of the films: one emulated core can look at that."""

CONFIG = f"""\
[device]
id = "edge-vm"
trust_clock = true
[camera]
source = "/dev/video10"
fps = 5.0
[microphone]
source = "none"
[pacing]
max_fps = 1.0
max_cpu = 1.0
[mqtt]
host = "10.0.2.2"
port = {BROKER_PORT}
[models]
auto_pull = false
"""
"""The agent's configuration on the image: its camera is the film, its broker is on the host."""


def build(target: Target, *, media: Path | None, package: Path | None = None) -> None:
    """Make what is missing: the Debian of ``target``, the disk with the agent's package, and the media disk.

    ``media`` is kiosk.mp4 if there is one, ``package`` a Debian package instead of one built from this checkout.
    """
    target.folder.mkdir(parents=True, exist_ok=True)
    make_media(media)
    if not all((target.folder / name).exists() for name in ("base.raw", "vmlinuz", "initrd", "id_ed25519")):
        _debian(target)
    install(target, package or packaged(target))


def packaged(target: Target) -> Path:
    """The Debian package of this checkout for ``target``, built when the checkout has changed."""
    tracked = ("edge_agent", "plugins", "systemd", "packaging", "constraints", "pyproject.toml", "scripts/build-deb")
    diff = subprocess.run(["git", "-C", ROOT, "diff", "HEAD", "--", *tracked], capture_output=True, check=True).stdout
    trees = subprocess.run(
        ["git", "-C", ROOT, "ls-tree", "HEAD", "--", *tracked], capture_output=True, check=True
    ).stdout
    folder = cache() / "packages" / hashlib.sha256(trees + diff).hexdigest()[:12]
    pattern = f"edge-agent_*py{target.python}_{target.arch}.deb"
    if not list(folder.glob(pattern)):
        words = [sys.executable, ROOT / "scripts/build-deb", "--arch", target.arch, "--python", target.python]
        subprocess.run(["nice", *map(str, words), "--out", str(folder)], check=True, stdout=sys.stderr)
    return next(folder.glob(pattern))


def install(target: Target, package: Path, *, disk: str = "agent") -> None:
    """Put ``package`` on a copy of the base disk, natively in a chroot: emulated, that takes eight minutes."""
    done = target.folder / f"{disk}.package"
    wanted = hashlib.sha256(package.read_bytes() + GUEST.read_bytes() + CONFIG.encode()).hexdigest()
    if done.exists() and done.read_text() == wanted:
        return
    done.unlink(missing_ok=True)
    image = target.folder / f"{disk}.raw"
    subprocess.run(["cp", "--sparse=always", target.folder / "base.raw", image], check=True)
    with mounted(image) as root, chroot(root) as inside:
        shutil.copyfile(package, root / "root/edge-agent.deb")
        inside("dpkg -i /root/edge-agent.deb")
        (root / "root/edge-agent.deb").unlink()
        configure(root)
        for model in sorted((cache() / "models").glob("*.tflite")):
            shutil.copyfile(model, root / "var/lib/edge-agent/models" / model.name)
        shutil.copyfile(cache() / FILM_FILE, root / GUEST_FILM.lstrip("/"))
        units = "edge-agent film-camera"
        if target.arch != host_arch():  # no v4l2loopback there
            inside("rm -f /etc/modules-load.d/film.conf; systemctl disable -q film-camera")
            units = "edge-agent"
        inside(f"chown -R edge-agent:edge-agent /var/lib/edge-agent && systemctl enable {units}")
    done.write_text(wanted)


def configure(root: Path) -> None:
    """Write the agent's configuration and the guest's helper into the tree ``root``."""
    config = root / "etc/edge-agent/config.toml"
    config.write_text(CONFIG)
    shutil.copyfile(GUEST, root / "usr/local/sbin/guest")
    (root / "usr/local/sbin/guest").chmod(0o755)


def make_film(target: Path) -> None:
    """Make a film of a minute with the same portrait twice, side by side, for machines without kiosk.mp4."""
    from skimage import data

    portrait = data.astronaut()[0:240, 96:416]
    wall = portrait[:1, :1].repeat(480, 0).repeat(640, 1).copy()
    wall[120:360, :320] = wall[120:360, 320:] = portrait
    words = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        "640x480",
        "-r",
        "1",
        "-i",
        "-",
    ]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440", "-t", "60", "-r", "15", "-pix_fmt", "yuv420p", str(target)]
    subprocess.run([*words, *sound], input=wall.tobytes() * 60, check=True)


def make_media(film: Path | None) -> None:
    """Make the read-only disk of films (raw YUYV pictures) and their sound, and fetch the face models beside it.

    ``film``: kiosk.mp4; without it the same portrait twice is played.
    """
    image = cache() / "media.raw"
    models = cache() / "models"
    if not list(models.glob("*.tflite")):
        models.mkdir(parents=True, exist_ok=True)
        agent = Path(sys.executable).parent / "edge-agent"
        subprocess.run([agent, "models", "pull", "--dir", models], check=True, stdout=sys.stderr)
    if image.exists():
        return
    width, height, fps = FILM
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        kiosk = cache() / FILM_FILE
        if film is None:
            make_film(kiosk)
        else:
            shutil.copyfile(film, kiosk)
        for name, (start, length) in MEDIA.items():
            words = ["ffmpeg", "-v", "error", "-ss", str(start), "-t", str(length), "-i", str(kiosk)]
            raw = [
                "-r",
                str(fps),
                "-s",
                f"{width}x{height}",
                "-pix_fmt",
                "yuyv422",
                "-f",
                "rawvideo",
                f"{scratch}/{name}.yuyv",
            ]
            wav = ["-ac", "2", "-ar", "48000", "-c:a", "pcm_s16le", "-f", "s16le", f"{scratch}/{name}.s16"]
            subprocess.run([*words, "-map", "0:v", *raw, "-map", "0:a", *wav], check=True)
        size = sum(path.stat().st_size for path in Path(scratch).iterdir()) * 11 // 10 + (16 << 20)
        _format(image, str(size), Path(scratch), "media")


@contextlib.contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """Mount a raw image for the length of the block; its journal is replayed first, as a boot would."""
    with tempfile.TemporaryDirectory(prefix="edge-agent-machine-") as folder:
        subprocess.run(["mount", "-o", "loop", image, folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--recursive", folder], check=True)


def host_arch() -> str:
    """Debian's name of this host's architecture."""
    command = ["dpkg", "--print-architecture"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Chroot:
    """Runs shell commands inside a mounted tree, natively (or under qemu-user)."""

    def __init__(self, root: Path, log: Path) -> None:
        self._root = root
        self._log = log

    def __call__(self, text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = ["env", "-i", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        words = ["nice", "chroot", str(self._root), *environment, "sh", "-ec", text]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        with self._log.open("a") as log:
            log.write(f"$ {text}\n{done.stdout}{done.stderr}")
        if check and done.returncode != 0:
            raise RuntimeError(f"{text!r} in the image: {(done.stdout + done.stderr)[-1500:]}")
        return done


@contextlib.contextmanager
def chroot(root: Path) -> Iterator[Chroot]:
    """Commands inside ``root``, with /proc, /dev and no services started."""
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    mounts = [("proc", "proc"), ("devpts", "dev/pts")]
    subprocess.run(["mount", "--bind", "/dev", root / "dev"], check=True)
    for kind, where in mounts:
        subprocess.run(["mount", "-t", kind, kind, root / where], check=True)
    try:
        yield Chroot(root, cache() / "chroot.log")
    finally:
        for where in ("dev/pts", "dev", "proc"):
            subprocess.run(["umount", "--lazy", root / where], check=True)
        policy.unlink(missing_ok=True)


def _debian(target: Target) -> None:
    """Make base.raw, vmlinuz and initrd of ``target``: systemd, sshd, V4L2 and ALSA drivers, and no agent."""
    if target.arch != host_arch():
        _register_qemu(target.arch)
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        root = Path(scratch, "root")
        words = ["debootstrap", "--arch", target.arch, "--variant=minbase", "--include=ca-certificates", target.suite]
        subprocess.run(["nice", *words, str(root)], check=True, stdout=sys.stderr)
        with chroot(root) as inside:
            inside("apt-get update -qq")
            inside("apt-get install -y -qq --no-install-recommends initramfs-tools lz4")
            # A small initrd, made and unpacked quickly: the usual one costs an emulated boot half a minute, and under
            # qemu-user it takes half an hour to make.
            settings = root / "etc/initramfs-tools/initramfs.conf"
            text = settings.read_text().replace("MODULES=most", "MODULES=list")
            settings.write_text(text.replace("COMPRESS=zstd", "COMPRESS=lz4"))
            with (root / "etc/initramfs-tools/modules").open("a") as modules:
                modules.write("virtio_pci\nvirtio_blk\next4\n")
            packages = f"linux-image-{target.arch} {PACKAGES}"
            if target.arch == host_arch():
                packages += f" linux-headers-{target.arch} {DEVICES}"
            inside(f"apt-get install -y -qq --no-install-recommends {' '.join(packages.split())}")
            inside("apt-get clean")
        _disk(target, root)


def _disk(target: Target, root: Path) -> None:
    """Make the disk of ``target`` from the tree ``root``, and copy its kernel out."""
    _settings(target, root)
    shutil.copyfile(next((root / "boot").glob("vmlinuz-*")), target.folder / "vmlinuz")
    shutil.copyfile(next((root / "boot").glob("initrd.img-*")), target.folder / "initrd")
    _format(target.folder / "base.raw", SIZE, root, "root")


def _register_qemu(arch: str) -> None:
    """Let the kernel hand programs of another architecture to qemu-user, also inside a chroot."""
    registry = Path("/proc/sys/fs/binfmt_misc")
    if not (registry / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", registry], check=True)
    machine, number = {"arm64": ("aarch64", 0xB7), "amd64": ("x86_64", 0x3E)}[arch]
    if (registry / f"qemu-{machine}").exists():
        return
    interpreter = shutil.which(f"qemu-{machine}-static")
    if interpreter is None:
        raise RuntimeError(f"no qemu-{machine}-static: apt install qemu-user-static")
    magic = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + rf"\x02\x00\x{number:02x}\x00"
    mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    # F: the interpreter is opened now, so it need not be in the chroot.
    (registry / "register").write_text(f":qemu-{machine}:M::{magic}:{mask}:{interpreter}:F")


def _settings(target: Target, root: Path) -> None:
    """Name, network, keys and devices of the guest."""
    key = target.folder / "id_ed25519"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    console = "[Match]\nName=eth0\n[Network]\nAddress=10.0.9.15/24\nLinkLocalAddressing=no\n"
    cable = "[Match]\nName=eth1\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n"
    texts = {
        "etc/hostname": "edge-vm\n",
        "etc/hosts": "127.0.0.1 localhost edge-vm\n",
        "etc/resolv.conf": "nameserver 10.0.2.3\n",
        "etc/fstab": "/dev/vda / ext4 defaults,errors=remount-ro 0 1\n"
        # A starved emulator takes minutes until it has seen its disks.
        "LABEL=media /srv ext4 ro,nofail,x-systemd.device-timeout=600 0 0\n",
        "etc/systemd/network/console.network": console,
        "etc/systemd/network/cable.network": cable,
        # A machine that was started before: a first start would set all units to their presets.
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/modprobe.d/film.conf": "options v4l2loopback video_nr=10,11 card_label=Film,Other exclusive_caps=1,1\n"
        "options snd-aloop pcm_substreams=1\n",
        "etc/modules-load.d/film.conf": "v4l2loopback\nsnd-aloop\n",
        # The emulated clock is right: whether it is synchronised is for a check to say.
        "etc/systemd/system/systemd-timesyncd.service.d/never.conf": "[Unit]\nConditionPathExists=/run/time-server\n",
        **{f"etc/systemd/system/{name}.service": text for name, text in UNITS.items()},
    }
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    (root / "var/log/journal").mkdir(exist_ok=True)
    _enable(root, "systemd-networkd.service")
    for unit in QUIET:
        path = root / "etc/systemd/system" / unit
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/null")
    authorized = root / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(key.with_suffix(".pub"), authorized)
    authorized.chmod(0o600)


def _enable(root: Path, unit: str) -> None:
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    link = wants / unit
    link.unlink(missing_ok=True)
    link.symlink_to(f"/lib/systemd/system/{unit}")


UNITS = {
    "film-camera": """\
[Unit]
Before=edge-agent.service
RequiresMountsFor=/srv
[Service]
EnvironmentFile=-/etc/film.env
Environment=FILM=pair CAMERA=/dev/video10
ExecStart=/usr/local/sbin/guest play-camera
Restart=always
RestartSec=1
Nice=-5
[Install]
WantedBy=multi-user.target
""",
    "film-microphone": """\
[Unit]
Before=edge-agent.service
RequiresMountsFor=/srv
[Service]
EnvironmentFile=-/etc/film.env
Environment=FILM=pair
ExecStart=/usr/local/sbin/guest play-microphone
Restart=always
RestartSec=1
Nice=-5
""",
}
"""Services of the guest that feed its camera and its sound card with a film."""


def _format(image: Path, size: str, content: Path, label: str) -> None:
    image.unlink(missing_ok=True)
    subprocess.run(["truncate", "-s", size, image], check=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", label, "-d", content, image], check=True)
