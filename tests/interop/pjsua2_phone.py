"""A softphone on PJSIP, set up as MicroSIP sets itself up: takes a command a line on stdin, prints a JSON line per event.

usage: pjsua2_phone.py SERVER [NAME=VALUE ...]
settings: user=NAME password=TEXT | codecs=ID,ID (PJSIP's own names) | ptime=MS | vad=on | rate=HZ (of what it plays and records)
          srtp=1 (offered) or 2 (insisted on) | suite=NAME (the only one)
commands: register | unregister | call USER | play FILE.wav | record FILE.wav | stop_recording | dtmf DIGITS | info DIGIT
          hold | unhold | hangup
The end of stdin hangs up and ends it.
"""

import json
import os
import sys

import pjsua2 as pj

SERVER = sys.argv[1]
SETTINGS = dict(word.split("=", 1) for word in sys.argv[2:])
USER = SETTINGS.get("user", "agent001")
PASSWORD = SETTINGS.get("password", "any password")


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Call(pj.Call):
    media = None
    ended = False

    def onCallState(self, prm):
        info = self.getInfo()
        say("call", state=info.stateText, code=info.lastStatusCode, reason=info.lastReason, call_id=info.callIdString)
        self.ended = info.state == pj.PJSIP_INV_STATE_DISCONNECTED

    def onCallMediaState(self, prm):
        info = self.getInfo()
        for index, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO:
                say("media", status=media.status, direction=media.dir)
                if media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                    self.media = self.getAudioMedia(index)
                    PHONE.connect()

    def onCallTsxState(self, prm):
        transaction = prm.e.body.tsxState.tsx
        if transaction.method == "INFO" and transaction.statusCode >= 200:
            say("info", code=transaction.statusCode)


class Account(pj.Account):
    def onRegState(self, prm):
        lines = [line.partition(": ") for line in prm.rdata.wholeMsg.splitlines()]
        error = next((value for name, _, value in lines if name == "P-Registrar-Error"), None)
        say("register", code=prm.code, reason=prm.reason, expires=prm.expiration, error=error)


class Phone:
    """The one call, and what is plugged into it."""

    def __init__(self):
        self.account = None
        self.call = None
        self.player = None
        self.recorder = None

    def connect(self):
        if self.call and self.call.media:
            if self.player:
                self.player.startTransmit(self.call.media)
            if self.recorder:
                self.call.media.startTransmit(self.recorder)

    def obey(self, command, argument):
        if command in ("register", "unregister"):
            self.account.setRegistration(command == "register")
        elif command == "call":
            self.call = Call(self.account)
            parameters = pj.CallOpParam(True)
            parameters.opt.videoCount = 0
            self.call.makeCall(f"sip:{argument}@{SERVER}", parameters)
        elif command == "play":
            self.player = pj.AudioMediaPlayer()
            self.player.createPlayer(argument, pj.PJMEDIA_FILE_NO_LOOP)
            self.connect()
        elif command == "record":
            self.recorder = pj.AudioMediaRecorder()
            self.recorder.createRecorder(argument)
            self.connect()
        elif command == "stop_recording":
            self.recorder = None
        elif command == "dtmf":
            self.call.dialDtmf(argument)
        elif command == "info":
            parameters = pj.CallSendRequestParam()
            parameters.method = "INFO"
            parameters.txOption.contentType = "application/dtmf-relay"
            parameters.txOption.msgBody = f"Signal={argument}\r\nDuration=160"
            self.call.sendRequest(parameters)
        elif command == "hold":
            self.call.setHold(pj.CallOpParam())
        elif command == "unhold":
            parameters = pj.CallOpParam(True)
            parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
            parameters.opt.videoCount = 0
            self.call.reinvite(parameters)
        elif command == "hangup":
            self.call.hangup(pj.CallOpParam())
        else:
            raise ValueError("unknown command")


PHONE = Phone()


def run(endpoint, polls, done=lambda: False):
    """Handles events for `polls` times 10 ms at most."""
    while polls > 0 and not done():
        endpoint.libHandleEvents(10)
        polls -= 1


def open_endpoint():
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.uaConfig.userAgent = "MicroSIP/3.22.3"
    config.logConfig.level = int(os.environ.get("PJ_LOG", "0"))
    config.logConfig.consoleLevel = config.logConfig.level
    config.medConfig.noVad = SETTINGS.get("vad") != "on"
    config.medConfig.ptime = int(SETTINGS.get("ptime", 0))
    config.medConfig.clockRate = int(SETTINGS.get("rate", 8000))
    config.medConfig.sndClockRate = config.medConfig.clockRate
    endpoint.libInit(config)
    transport = endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, pj.TransportConfig())
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 0)
    for place, codec in enumerate(SETTINGS.get("codecs", "PCMA/8000/1,PCMU/8000/1").split(",")):
        endpoint.codecSetPriority(codec, 128 - place)
    return endpoint, transport


def open_account(transport):
    config = pj.AccountConfig()
    config.idUri = f"<sip:{USER}@{SERVER.split(':')[0]}>"
    config.regConfig.registrarUri = f"sip:{SERVER}"
    config.regConfig.registerOnAdd = False
    config.regConfig.timeoutSec = 300
    config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", USER, 0, PASSWORD))
    config.sipConfig.transportId = transport
    config.natConfig.viaRewriteUse = 0
    config.natConfig.sdpNatRewriteUse = 0
    config.natConfig.contactRewriteUse = 0
    config.callConfig.timerUse = 1
    config.mediaConfig.srtpUse = int(SETTINGS.get("srtp", "0"))
    config.mediaConfig.srtpSecureSignaling = 0
    if "suite" in SETTINGS:
        crypto = pj.SrtpCrypto()
        crypto.name = SETTINGS["suite"]
        config.mediaConfig.srtpOpt.cryptos = pj.SrtpCryptoVector([crypto])
    account = Account()
    account.create(config)
    return account


def main():
    endpoint, transport = open_endpoint()
    PHONE.account = open_account(transport)
    os.set_blocking(0, False)
    waiting = b""
    say("ready")
    while True:
        endpoint.libHandleEvents(10)
        try:
            got = os.read(0, 4096)
        except BlockingIOError:
            continue
        if not got:
            break
        *lines, waiting = (waiting + got).split(b"\n")
        for line in lines:
            command, _, argument = line.decode().partition(" ")
            try:
                PHONE.obey(command, argument)
                say("done", command=command)
            except Exception as error:
                say("failed", command=command, error=str(error))
    if PHONE.call and not PHONE.call.ended:
        PHONE.call.hangup(pj.CallOpParam())
        run(endpoint, 100, lambda: PHONE.call.ended)
    PHONE.player = None
    PHONE.recorder = None
    # Media ports are closed by the audio clock's thread, a tick after they are let go.
    run(endpoint, 20)
    say("end")
    # The library's own tear-down races with the garbage collector; everything is written by here.
    os._exit(0)


main()
