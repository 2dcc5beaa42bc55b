"""A softphone on PJSIP, set up as MicroSIP sets itself up: takes a command a line on stdin, prints a JSON line per event.

usage: pjsua2_phone.py SERVER [NAME=VALUE ...]
settings: user=NAME password=TEXT name=DISPLAY | codecs=ID,ID (PJSIP's own names) | ptime=MS | vad=on | rate=HZ (of what it plays and records)
          srtp=1 (offered) or 2 (insisted on) | suite=NAME (the only one) | transport=udp, tcp or tls
          bind=ADDRESS | answer=CODE (of calls that come; 200) | expires=SECONDS | timer=USE prack=USE (PJSIP's own numbers of uses)
commands: register | unregister | call USER | call_late USER | call_uri URI | play FILE.wav | record FILE.wav
          stop_recording | dtmf DIGITS | info DIGIT | hold | unhold | update | reinvite | select NUMBER | stats
          transfer URI | transfer_to NUMBER | hangup
Calls are numbered from 0 as they begin; commands are about the latest, or the one that was selected. A call that comes is
answered at once. The end of stdin hangs up and ends it.
"""

import json
import os
import sys

import pjsua2 as pj

SERVER = sys.argv[1]
SETTINGS = dict(word.split("=", 1) for word in sys.argv[2:])
USER = SETTINGS.get("user", "agent001")
NAME = f'"{SETTINGS["name"]}" ' if "name" in SETTINGS else ""
PASSWORD = SETTINGS.get("password", "any password")
TRANSPORT = SETTINGS.get("transport", "udp")
# MicroSIP writes the transport into its URIs unless it is UDP.
PARAMETER = "" if TRANSPORT == "udp" else f";transport={TRANSPORT}"


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Call(pj.Call):
    media = None
    ended = False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.number = len(PHONE.calls)
        PHONE.calls.append(self)
        PHONE.call = self

    def onCallState(self, prm):
        info = self.getInfo()
        say("call", number=self.number, state=info.stateText, code=info.lastStatusCode, reason=info.lastReason, call_id=info.callIdString)
        self.ended = info.state == pj.PJSIP_INV_STATE_DISCONNECTED

    def onCallMediaState(self, prm):
        info = self.getInfo()
        for index, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO:
                say("media", number=self.number, status=media.status, direction=media.dir)
                if media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                    self.media = self.getAudioMedia(index)
                    PHONE.connect()

    def onCallTsxState(self, prm):
        transaction = prm.e.body.tsxState.tsx
        if transaction.method == "INFO" and transaction.statusCode >= 200:
            say("info", code=transaction.statusCode)
        # An INVITE that is answered 200 is over at once, and no other transaction ends without being completed.
        over = transaction.method == "INVITE" and transaction.state == pj.PJSIP_TSX_STATE_TERMINATED
        if over or transaction.state == pj.PJSIP_TSX_STATE_COMPLETED:
            ours = transaction.role == pj.PJSIP_ROLE_UAC
            say("transaction", number=self.number, method=transaction.method, ours=ours, code=transaction.statusCode)

    def onDtmfDigit(self, prm):
        say("dtmf", number=self.number, digit=prm.digit)

    def onCallTransferStatus(self, prm):
        say("transfer", number=self.number, code=prm.statusCode, final=prm.finalNotify)

    def onCallTransferRequest(self, prm):
        say("transfer_request", number=self.number, target=prm.dstUri)
        prm.newCall = Call(PHONE.account)

    def onCallReplaced(self, prm):
        say("replaced", number=self.number)
        prm.newCall = Call(PHONE.account, prm.newCallId)


class Account(pj.Account):
    def onRegState(self, prm):
        lines = [line.partition(": ") for line in prm.rdata.wholeMsg.splitlines()]
        error = next((value for name, _, value in lines if name == "P-Registrar-Error"), None)
        say("register", code=prm.code, reason=prm.reason, expires=prm.expiration, error=error)

    def onIncomingCall(self, prm):
        call = Call(self, prm.callId)
        say("incoming", number=call.number)
        parameters = pj.CallOpParam()
        parameters.statusCode = int(SETTINGS.get("answer", "200"))
        call.answer(parameters)


class Phone:
    """The calls, and what is plugged into the one that is selected."""

    def __init__(self):
        self.account = None
        self.calls = []
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
        elif command in ("call", "call_late", "call_uri"):
            parameters = pj.CallOpParam(True)
            parameters.opt.videoCount = 0
            if command == "call_late":
                parameters.opt.flag = pj.PJSUA_CALL_NO_SDP_OFFER
            uri = argument if command == "call_uri" else f"sip:{argument}@{SERVER}{PARAMETER}"
            Call(self.account).makeCall(uri, parameters)
        elif command == "select":
            self.call = self.calls[int(argument)]
        elif command in ("update", "reinvite"):
            parameters = pj.CallOpParam(True)
            parameters.opt.videoCount = 0
            getattr(self.call, command)(parameters)
        elif command == "transfer":
            self.call.xfer(argument, pj.CallOpParam())
        elif command == "transfer_to":
            self.call.xferReplaces(self.calls[int(argument)], pj.CallOpParam())
        elif command == "stats":
            stat = self.call.getStreamStat(0).rtcp
            say("stats", received=stat.rxStat.pkt, sent=stat.txStat.pkt)
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
    kinds = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
    socket = pj.TransportConfig()
    socket.boundAddress = SETTINGS.get("bind", "")
    # As in MicroSIP, the server's certificate is not checked.
    transport = endpoint.transportCreate(kinds[TRANSPORT], socket)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 0)
    for place, codec in enumerate(SETTINGS.get("codecs", "PCMA/8000/1,PCMU/8000/1").split(",")):
        endpoint.codecSetPriority(codec, 128 - place)
    return endpoint, transport


def open_account(transport):
    config = pj.AccountConfig()
    config.idUri = f"{NAME}<sip:{USER}@{SERVER.split(':')[0]}>"
    config.regConfig.registrarUri = f"sip:{SERVER}{PARAMETER}"
    config.regConfig.registerOnAdd = False
    config.regConfig.timeoutSec = 300
    config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", USER, 0, PASSWORD))
    config.sipConfig.transportId = transport
    config.natConfig.viaRewriteUse = 0
    config.natConfig.sdpNatRewriteUse = 0
    config.natConfig.contactRewriteUse = 0
    config.callConfig.timerUse = int(SETTINGS.get("timer", "1"))
    config.callConfig.timerSessExpiresSec = int(SETTINGS.get("expires", "1800"))
    config.callConfig.prackUse = int(SETTINGS.get("prack", "0"))
    config.mediaConfig.transportConfig.boundAddress = SETTINGS.get("bind", "")
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
    say("ready", address=endpoint.transportGetInfo(transport).localName)
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
    for call in PHONE.calls:
        if not call.ended and call.isActive():
            call.hangup(pj.CallOpParam())
            run(endpoint, 100, lambda: call.ended)
    PHONE.player = None
    PHONE.recorder = None
    # Media ports are closed by the audio clock's thread, a tick after they are let go.
    run(endpoint, 20)
    say("end")
    # The library's own tear-down races with the garbage collector; everything is written by here.
    os._exit(0)


main()
