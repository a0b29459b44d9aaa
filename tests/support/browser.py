"""A headless Chromium, driven as a person would, that remembers what it complained about and whom it asked."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "needs a browser (Debian: apt install chromium chromium-driver)"

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
T = TypeVar("T")


class Browser:
    """Waits up to ``patience`` seconds for what it is asked to wait for."""

    def __init__(self, profile: Path, patience: float = 40.0) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
        self._patience = patience
        self._complaints: list[str] = []
        self._hosts: set[str] = set()

    def close(self) -> None:
        """End it."""
        self.driver.quit()

    def look(self, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """As on a screen of that size (CSS pixels), in a system of that theme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def one(self, selector: str) -> WebElement:
        """The first element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What it says, shown or not."""
        return str(self.script("return document.querySelector(arguments[0])?.textContent ?? ''", selector)).strip()

    def script(self, source: str, *arguments: Any) -> Any:
        """The value of some JavaScript."""
        return self.driver.execute_script(source, *arguments)

    def barriers(self) -> list[str]:
        """What axe-core finds wrong with the page for people who cannot see or point, a line each."""
        script = Path(str(resources.files("axe_core_python") / "axe.min.js"))
        self.script(script.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script("axe.run({resultTypes: ['violations']}).then(arguments[0])")
        return [f"{each['id']}: {node['html']}" for each in found["violations"] for node in each["nodes"]]

    def until(self, condition: Callable[[], T], what: str) -> T:
        """The condition's value once it is true."""
        deadline = time.monotonic() + self._patience
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {self._patience:.0f} s: {what}"
            time.sleep(0.1)
        return value

    def complaints(self) -> list[str]:
        """Errors of the console since the last call: of scripts, of the page's policy, of what was not answered."""
        self._listen()
        found, self._complaints = self._complaints, []
        return found

    def hosts(self) -> set[str]:
        """Everybody asked so far."""
        self._listen()
        return self._hosts

    def _listen(self) -> None:
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING"):
                self._complaints.append(entry["message"])
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            parameters = message["params"]
            if message["method"] == "Network.requestWillBeSent":
                self._ask(parameters["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self._ask(parameters["url"])

    def _ask(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "chrome", "about"):
            self._hosts.add(parts.netloc)
