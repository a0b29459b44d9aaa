#!/bin/bash
# In the guest (/usr/local/sbin/guest): feeds the camera and the sound card, and makes one fault at a time.
#
#   guest play-camera | play-microphone   what the services film-camera and film-microphone run: $FILM of /srv, for ever
#   guest camera-on | camera-off          plug the camera /dev/video10 in, or out (its module; held: only the feed ends)
#   guest microphone-on | microphone-off  bind the sound card to its driver, or unbind it
#   guest film NAME                       the devices play another film
#   guest feed FORMAT WIDTHxHEIGHT FPS    the camera gives other pictures: yuyv422 or mjpeg, made from $FILM
#   guest clock SECONDS                   step the clock to that Unix time, and count it as synchronised
#   guest set NAME VALUE                  set NAME (table.option) of the agent's configuration, which the agent reads again
#   guest doctor                          run the doctor as the unit runs the agent: same user, devices, protections
#   guest wait-devices                    until udev has seen all
set -euo pipefail
config=/etc/edge-agent/config.toml

play_camera() {
    [ -e "${CAMERA:=/dev/video10}" ] || exit 1
    local format size fps codec=(-c copy)
    if [ -n "${FEED:-}" ]; then
        read -r format size fps <<<"$FEED"
        codec=(-r "$fps" -s "$size" -c:v rawvideo -pix_fmt "$format")
        [ "$format" != mjpeg ] || codec=(-r "$fps" -s "$size" -c:v mjpeg -q:v 5)
    fi
    exec ffmpeg -nostdin -loglevel error -re -stream_loop -1 -f rawvideo -pixel_format yuyv422 -video_size 640x480 \
        -framerate 5 -i "/srv/$FILM.yuyv" "${codec[@]}" -f v4l2 "$CAMERA"
}

play_microphone() {
    while :; do cat "/srv/$FILM.s16"; done |
        exec aplay -q -D hw:CARD=Loopback,DEV=1 -t raw -f S16_LE -r 48000 -c 2 --buffer-time=500000
}

case ${1:-} in
    play-camera) play_camera ;;
    play-microphone) play_microphone ;;
    camera-on) modprobe v4l2loopback; udevadm settle; systemctl restart film-camera ;;
    camera-off) systemctl stop film-camera; for _ in $(seq 40); do rmmod v4l2loopback 2>/dev/null && exit; sleep 0.5; done; exit 1 ;;
    microphone-on) echo snd_aloop.0 >/sys/bus/platform/drivers/snd_aloop/bind; systemctl restart film-microphone ;;
    microphone-off)
        systemctl stop film-microphone
        timeout 30 sh -c 'echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/unbind' ;;
    film) echo "FILM=$2" >/etc/film.env; systemctl restart film-camera ;;
    feed) printf 'FILM=pair\nFEED=%s %s %s\n' "$2" "$3" "$4" >/etc/film.env; systemctl restart film-camera ;;
    clock)
        date -s "@$2" >/dev/null
        python3 - <<'PYTHON'
import ctypes
timex = (ctypes.c_long * 64)()  # struct timex begins with modes, offset, freq, maxerror, esterror, status
ctypes.cast(timex, ctypes.POINTER(ctypes.c_uint))[0] = 0x0004 | 0x0008 | 0x0010  # ADJ_MAXERROR, _ESTERROR, _STATUS
timex[3] = timex[4] = 1000
print("clock state", ctypes.CDLL(None, use_errno=True).adjtimex(timex))
PYTHON
        ;;
    set)
        python3 - "$config" "$2" "$3" <<'PYTHON'
import re, sys
path, name, value = sys.argv[1:]
table, option = name.rsplit(".", 1)
text = open(path).read()
text = re.sub(rf"(?m)(^\[{re.escape(table)}\]\n(?:(?!\[).*\n)*?){option} = .*?\n", r"\1", text)
if f"[{table}]" not in text:
    text += f"[{table}]\n"
open(path, "w").write(text.replace(f"[{table}]\n", f"[{table}]\n{option} = {value}\n"))
PYTHON
        ;;
    doctor)
        sed -e 's/^Type=.*/Type=oneshot/; s/^Restart=.*/Restart=no/; /^ExecReload=/d; /^WatchdogSec=/d; s/^TimeoutStartSec=.*/TimeoutStartSec=600/' \
            -e 's|^ExecStart=.*|ExecStart=/opt/edge-agent/bin/edge-agent doctor --json --config /etc/edge-agent/config.toml|' \
            -e 's|^\[Service\]|[Service]\nStandardOutput=file:/run/doctor.json|' \
            /usr/lib/systemd/system/edge-agent.service >/run/systemd/system/edge-agent-doctor.service
        systemctl daemon-reload
        systemctl start edge-agent-doctor || true
        cat /run/doctor.json ;;
    wait-devices) udevadm settle ;;
    *) sed -n 2,14p "$0"; exit 2 ;;
esac
