"""Drives a headless Chromium by the DevTools protocol over its pipe: a command a line in, an answer a line out, both JSON.

Commands: {"goto": url}, {"eval": script}, {"shot": path, "width": px, "height": px, "scheme": "light" | "dark"}, {"size": px}, {"errors": 1},
{"downloads": folder}.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile


class Browser:
    """One page of one browser, with what it complains of."""

    def __init__(self, program):
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        inner = "exec 3<&%d 4>&%d; exec \"$@\"" % (to_browser, from_browser)
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        arguments = [
            "bash", "-c", inner, "chromium", program, "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio",
            "--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--remote-debugging-pipe", "--user-data-dir=" + self.profile.name, "about:blank",
        ]
        self.process = subprocess.Popen(
            arguments, pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self.pending = b""
        self.number = 0
        self.errors = []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        self.session = None
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(domain + ".enable")

    def read(self):
        """Returns the next message."""
        while b"\0" not in self.pending:
            more = os.read(self.read_end, 1 << 16)
            if not more:
                raise SystemExit("the browser is gone")
            self.pending += more
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def send(self, method, **params):
        """Sends a command and returns its result; what else comes meanwhile is noted."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": params}
        if getattr(self, "session", None):
            command["sessionId"] = self.session
        os.write(self.write_end, json.dumps(command).encode() + b"\0")
        while True:
            message = self.read()
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError("%s: %s" % (method, message["error"]))
                return message["result"]
            self.note(message)

    def note(self, message):
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif message.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(argument.get("value")) for argument in params["args"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append("%s (%s)" % (params["entry"]["text"], params["entry"].get("url", "")))

    def size(self, width, height, scheme="light"):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def obey(self, command):
        if "goto" in command:
            self.send("Page.navigate", url=command["goto"])
            return True
        if "eval" in command:
            result = self.send("Runtime.evaluate", expression=command["eval"], returnByValue=True, awaitPromise=True, userGesture=True)
            if "exceptionDetails" in result:
                raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description"))
            return result["result"].get("value")
        if "shot" in command:
            self.size(command["width"], command.get("height", 900), command.get("scheme", "light"))
            self.send("Runtime.evaluate", expression="new Promise(requestAnimationFrame)", awaitPromise=True)
            picture = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
            with open(command["shot"], "wb") as file:
                file.write(base64.b64decode(picture["data"]))
            return True
        if "downloads" in command:
            self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=command["downloads"])
            return True
        if "size" in command:
            self.size(command["size"], command.get("height", 900))
            return True
        # Whatever was said meanwhile comes before the answer to this.
        self.send("Runtime.evaluate", expression="0")
        return self.errors


def main():
    browser = Browser(sys.argv[1])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        try:
            answer = {"value": browser.obey(json.loads(line))}
        except RuntimeError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    browser.process.kill()
    browser.process.wait()


main()
