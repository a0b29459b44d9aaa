"""Simulate a power cut: writes that were not synced are lost, wholly or in random blocks.

A small library, preloaded into the process under test, copies a file to a mirror at every fsync or fdatasync of it. The
mirror is then what a disk that keeps nothing unsynced would hold; :meth:`PowerCut.strike` makes of it, and of what was
written since, the state after the cut. Directory entries are taken to survive, as they do on a journaling file system.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Copy the file behind fd to the mirror, under a temporary name first: a kill must not leave half a copy. */
static void mirror(int fd) {
  const char *from = getenv("POWERCUT_FROM"), *to = getenv("POWERCUT_TO");
  char link[64], path[PATH_MAX], part[PATH_MAX], name[PATH_MAX], block[65536];
  struct stat info;
  if (!from || !to || fstat(fd, &info) || !S_ISREG(info.st_mode)) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return;
  path[length] = 0;
  if (strncmp(path, from, strlen(from)) || strchr(path + strlen(from) + 1, '/')) return;
  snprintf(name, sizeof name, "%s%s", to, path + strlen(from));
  snprintf(part, sizeof part, "%s.part", name);
  int in = open(link, O_RDONLY | O_CLOEXEC); /* fd itself may be open for writing only */
  if (in < 0) return;
  int out = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (out < 0) { close(in); return; }
  off_t at = 0;
  ssize_t got;
  while ((got = pread(in, block, sizeof block, at)) > 0) { if (write(out, block, got) != got) break; at += got; }
  close(in);
  close(out);
  rename(part, name);
}

/* A file that is renamed keeps what was synced of it. */
int rename(const char *from_path, const char *to_path) {
  static int (*real)(const char *, const char *);
  const char *from = getenv("POWERCUT_FROM"), *to = getenv("POWERCUT_TO");
  char old[PATH_MAX], new[PATH_MAX];
  if (!real) real = dlsym(RTLD_NEXT, "rename");
  int result = real(from_path, to_path);
  if (result || !from || !to) return result;
  if (strncmp(from_path, from, strlen(from)) || strncmp(to_path, from, strlen(from))) return result;
  snprintf(old, sizeof old, "%s%s", to, from_path + strlen(from));
  snprintf(new, sizeof new, "%s%s", to, to_path + strlen(from));
  real(old, new);
  return result;
}

int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fsync");
  int result = real(fd);
  if (!result) mirror(fd);
  return result;
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
  int result = real(fd);
  if (!result) mirror(fd);
  return result;
}
"""

BLOCK = 4096


class PowerCut:
    """Watches ``folder`` (which holds no folders) of processes started with :meth:`environment`."""

    def __init__(self, folder: Path, workshop: Path) -> None:
        self._folder = folder
        self._mirror = workshop / "mirror"
        self._library = workshop / "powercut.so"
        workshop.mkdir(parents=True, exist_ok=True)
        self._mirror.mkdir()
        source = workshop / "powercut.c"
        source.write_text(SOURCE, encoding="ascii")
        subprocess.run(
            ["cc", "-O1", "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl"],
            check=True,
            capture_output=True,
        )

    @staticmethod
    def available() -> bool:
        """Whether there is a C compiler."""
        return shutil.which("cc") is not None

    def environment(self) -> dict[str, str]:
        """Environment for the process under test."""
        return {
            **os.environ,
            "LD_PRELOAD": str(self._library),
            "POWERCUT_FROM": str(self._folder),
            "POWERCUT_TO": str(self._mirror),
        }

    def begin(self) -> None:
        """Begin with the present content of the folder as synced."""
        for file in self._mirror.iterdir():
            file.unlink()
        for file in self._folder.iterdir():
            shutil.copy(file, self._mirror / file.name)

    def synced(self) -> list[str]:
        """Names of the files in the mirror."""
        return sorted(file.name for file in self._mirror.iterdir())

    def strike(self, rng: random.Random | None = None) -> None:
        """Leave in the folder, after the process has ended, what a power cut would have left.

        With ``rng`` every 4 KiB block written since the last sync survives or not by chance; without, none does. Files
        that were never synced are empty.
        """
        for file in self._folder.iterdir():
            if file.name.endswith("-shm"):
                file.unlink()  # lives in memory only
                continue
            safe = self._mirror / file.name
            old = safe.read_bytes() if safe.exists() else b""
            new = file.read_bytes()
            if rng is None:
                file.write_bytes(old)
                continue
            blocks = [
                (new if rng.random() < 0.5 else old)[at : at + BLOCK] for at in range(0, max(len(new), len(old)), BLOCK)
            ]
            file.write_bytes(b"".join(blocks))
