"""A softphone on PJSIP, set up as MicroSIP sets itself up, that runs a script of steps and prints a JSON line per event.

usage: pjsua2_phone.py SERVER STEP...
steps: register | unregister | call USER | wait SECONDS | play FILE.wav | record FILE.wav | dtmf DIGITS | info DIGIT
       hold | unhold | hangup | until_hangup SECONDS
"""

import json
import os
import sys
import time

import pjsua2 as pj

SERVER = sys.argv[1]
STEPS = sys.argv[2:]


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Call(pj.Call):
    media = None
    ended = False
    confirmed = False

    def onCallState(self, prm):
        info = self.getInfo()
        say("call", state=info.stateText, code=info.lastStatusCode, reason=info.lastReason)
        if info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            self.confirmed = True
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.ended = True

    def onCallMediaState(self, prm):
        info = self.getInfo()
        for index, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO:
                say("media", status=media.status, direction=media.dir)
                if media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                    self.media = self.getAudioMedia(index)
                    PHONE.connect()


class Account(pj.Account):
    def onRegState(self, prm):
        say("register", code=prm.code, reason=prm.reason, expires=prm.expiration)


class Phone:
    """The one call, and what is plugged into it."""

    def __init__(self):
        self.call = None
        self.player = None
        self.recorder = None

    def connect(self):
        if self.call and self.call.media:
            if self.player:
                self.player.startTransmit(self.call.media)
            if self.recorder:
                self.call.media.startTransmit(self.recorder)


PHONE = Phone()


def run(endpoint, seconds, done=lambda: False):
    until = time.monotonic() + seconds
    while time.monotonic() < until and not done():
        endpoint.libHandleEvents(10)
    return done()


def main():
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.uaConfig.userAgent = "MicroSIP/3.22.3"
    config.logConfig.level = int(os.environ.get("PJ_LOG", "0"))
    config.logConfig.consoleLevel = config.logConfig.level
    config.medConfig.noVad = True
    config.medConfig.clockRate = 8000
    config.medConfig.sndClockRate = 8000
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport_id = endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 0)
    for priority, codec in ((128, "PCMA/8000/1"), (127, "PCMU/8000/1")):
        endpoint.codecSetPriority(codec, priority)

    account_config = pj.AccountConfig()
    account_config.idUri = f"<sip:agent001@{SERVER.split(':')[0]}>"
    account_config.regConfig.registrarUri = f"sip:{SERVER}"
    account_config.regConfig.registerOnAdd = False
    account_config.regConfig.timeoutSec = 300
    account_config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", "agent001", 0, "any password"))
    account_config.sipConfig.transportId = transport_id
    account_config.natConfig.viaRewriteUse = 0
    account_config.natConfig.sdpNatRewriteUse = 0
    account_config.natConfig.contactRewriteUse = 0
    account_config.callConfig.timerUse = 1
    account = Account()
    account.create(account_config)

    steps = iter(STEPS)
    for step in steps:
        if step in ("register", "unregister"):
            account.setRegistration(step == "register")
            run(endpoint, 0.5)
        elif step == "call":
            PHONE.call = Call(account)
            parameters = pj.CallOpParam(True)
            parameters.opt.videoCount = 0
            PHONE.call.makeCall(f"sip:{next(steps)}@{SERVER}", parameters)
            run(endpoint, 5, lambda: PHONE.call.confirmed or PHONE.call.ended)
        elif step == "wait":
            run(endpoint, float(next(steps)), lambda: PHONE.call is not None and PHONE.call.ended)
        elif step == "play":
            PHONE.player = pj.AudioMediaPlayer()
            PHONE.player.createPlayer(next(steps), pj.PJMEDIA_FILE_NO_LOOP)
            PHONE.connect()
        elif step == "record":
            PHONE.recorder = pj.AudioMediaRecorder()
            PHONE.recorder.createRecorder(next(steps))
            PHONE.connect()
        elif step == "dtmf":
            PHONE.call.dialDtmf(next(steps))
        elif step == "info":
            parameters = pj.CallSendRequestParam()
            parameters.method = "INFO"
            parameters.txOption.contentType = "application/dtmf-relay"
            parameters.txOption.msgBody = f"Signal={next(steps)}\r\nDuration=160"
            PHONE.call.sendRequest(parameters)
        elif step == "hold":
            PHONE.call.setHold(pj.CallOpParam())
        elif step == "unhold":
            parameters = pj.CallOpParam(True)
            parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
            parameters.opt.videoCount = 0
            PHONE.call.reinvite(parameters)
        elif step == "hangup":
            PHONE.call.hangup(pj.CallOpParam())
            run(endpoint, 2, lambda: PHONE.call.ended)
        elif step == "until_hangup":
            say("waited", ended=run(endpoint, float(next(steps)), lambda: PHONE.call.ended))
        else:
            say("error", text=f"unknown step {step}")
            break
    if PHONE.call and not PHONE.call.ended:
        PHONE.call.hangup(pj.CallOpParam())
        run(endpoint, 1, lambda: PHONE.call.ended)
    PHONE.player = None
    PHONE.recorder = None
    say("end")
    sys.stdout.flush()
    # The library's own tear-down races with the garbage collector; everything is written by here.
    os._exit(0)


main()
