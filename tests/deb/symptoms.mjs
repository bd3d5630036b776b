// How the faults of docs/troubleshoot.md are brought about, by its headings, and which of its quotes each has to show.

import { ADDRESS, OWN_LOBBY } from "../guest/install.mjs";

const SETTINGS = "/etc/perch/conf.d/50-site.toml";

/** Other settings over those of the site, and a start with them. */
const set = (toml) => `cat >${SETTINGS} <<'END'\n${toml}\nEND\nsystemctl restart --no-block perch`;

const watch = (seconds) => `swarm watch --lobby ${OWN_LOBBY} --secret-file /etc/lobby-secret --address ${ADDRESS} --seconds ${seconds} --viewers 1`;

/**
 * `does` is a script, `shows` a part of each quote that is to be seen then.
 * @type {Record<string, {does: string, shows: string[]}[]>}
 */
export const symptoms = {
  "What is wrong": [{ does: "true", shows: ["live as 'Porch'"] }],
  "It is not on the list": [{ does: set('[lobby]\nca_file = "nosuch.pem"'), shows: ["(the settings cannot be used)"] }],
  "The lobby cannot be reached": [
    {
      does: set('[lobby]\nurl = "https://lobby.example.org:9"'),
      shows: ["(connection refused)", "the line to the lobby is down: cannot connect", "FAULT  lobby", "→ see that the lobby runs"],
    },
  ],
  "Its name is not found": [
    { does: set('[lobby]\nurl = "https://nosuch.lobby.example.org"'), shows: ["(its name is not found by DNS)", "FAULT  dns", "→ check the spelling"] },
  ],
  "The token is refused or has expired": [
    {
      does: "echo another-secret-than-the-lobbys >/etc/perch/lobby-secret; systemctl restart --no-block perch",
      shows: ["(the token is not accepted)", "refused the token: Authentication error; check", "FAULT  lobby", "→ check [lobby.auth]"],
    },
    {
      does: `perch token --secret-file /etc/lobby-secret --subject porch --ttl 1h >/etc/perch/token && chmod 644 /etc/perch/token
        ${set('[lobby.auth]\ntoken_file = "/etc/perch/token"\nsecret_file = ""\nsubject = ""')}`,
      shows: ["note   lobby"],
    },
    {
      // Valid for a second, and used when that is over: a start takes less.
      does: `perch token --secret-file /etc/lobby-secret --subject porch --ttl 1s >/etc/perch/token; until perch check 2>&1 | grep -q expired; do sleep 0.2; done; systemctl restart --no-block perch`,
      shows: ["no token to dial with"],
    },
  ],
  // The lobby's certificate is for another name.
  "The clock is wrong, or TLS fails": [
    { does: set('[lobby]\nurl = "https://localhost"'), shows: ["(TLS failed)", "the TLS handshake with", "note   clock"] },
  ],
  "TURN does not answer": [
    {
      does: `echo secret >/etc/perch/turn-secret && chmod 644 /etc/perch/turn-secret
        ${set('[ice]\nservers = [{ url = "turn:127.0.0.1:9", secret_file = "turn-secret" }, { url = "turn:nosuch.example.org", secret_file = "turn-secret" }]')}`,
      shows: ["does not answer", "→ see that the server runs", "its name is not found"],
    },
  ],
  "No camera": [
    {
      does: set('[camera]\nprofile = "auto"'),
      shows: ["no camera was found that a profile could drive, trying", "waiting for the camera", "FAULT  camera         no camera", "→ plug it in, see"],
    },
    { does: set('[camera]\nprofile = "v4l2"\ndevice = "/dev/video0"'), shows: ["no camera at /dev/video0", "there is no /dev/video0", "→ plug it in; "] },
  ],
  "It is late or jerky": [{ does: "true", shows: ["ok     encoder"] }],
  "The camera is full": [
    {
      // The second comes when the first watches: two at once are too many joins, where there is one place. It waits for one until it
      // is stopped.
      does: `${set("[viewers]\nmax = 1").replace("--no-block", "")}
        systemd-run --quiet --collect ${watch(20)}
        timeout 20 sh -c 'until systemctl show perch -p StatusText | grep -q ", 1 viewer"; do :; done'
        timeout 5 ${watch(1)} || true`,
      shows: ["the only place is taken"],
    },
  ],
  "The settings cannot be used": [
    { does: set("[camera]\nwidth = 7"), shows: ["found 7"] },
    { does: `rm ${SETTINGS}; mv /etc/perch/conf.d/10-site.toml /run/`, shows: ["configuration: lobby.url"] },
    { does: "mv /run/10-site.toml /etc/perch/conf.d/; rm /etc/perch/lobby-secret", shows: ["lobby.auth.secret_file: cannot read"] },
  ],
  "The service does not stay up": [
    {
      // systemd may need more than one try itself.
      does: `for times in 1 2; do
          systemctl kill --kill-whom=main --signal=KILL perch
          timeout 25 sh -c "until [ \\$(systemctl show perch -p NRestarts --value) -ge $times ] && systemctl is-active --quiet perch; do :; done"
        done; true`,
      shows: ["restarted 3 times"],
    },
    { does: "systemctl stop perch", shows: ["is inactive (dead)", "→ `systemctl enable", "perch does not run"] },
  ],
  "The disk is full": [
    { does: "mount -t tmpfs -o size=3m tmpfs /var/lib/perch", shows: ["MB free", "→ make room"] },
    { does: "umount /var/lib/perch; systemctl stop perch; chown root: /var/lib/perch", shows: ["perch may not write there"] },
  ],
};

/**
 * Parts of the quotes that no container can show, for want of a camera, of a board, or of the time; tests/pages.rs finds each in
 * the sources all the same.
 */
export const elsewhere = [
  // Gone within a second.
  "no line to the lobby yet, dialing",
  // With a lobby that misbehaves, a network that swallows, a clock that is wrong: tests/line, tests/faults, tests/qemu.
  "(the lobby does not take the stream)",
  "(no answer)",
  "(no network route)",
  "did not answer within",
  "the clock is not set",
  "the clock says",
  "is not valid today",
  "it says …, which cannot be",
  // Viewers with a network of their own: tests/interop, tests/faults.
  "viewer ended:",
  "viewer lost, perhaps",
  "viewer is back",
  "viewer gets a new connection",
  "viewer is sent another rendition",
  "all 25 places",
  "too many joins",
  // A TURN server: tests/interop/doctor.test.mjs.
  "refuses our credentials",
  "→ check username and password",
  "gives no relay",
  "→ see the TURN server's own log",
  // A camera that is there, or its encoder: tests/qemu, tests/faults, src/media/camera/tests.rs, and src/doctor.
  "the encoder gives no picture",
  "camera lost",
  "camera restarts",
  "camera given up",
  "gives no picture that the profile",
  "another program holds the camera",
  "is in use by",
  "→ if it streams",
  "may not open",
  "→ `usermod",
  "without a picture",
  "no frame for",
  "it was restarted",
  "FAULT  encoder",
  "→ see `perch devices`",
  "→ install the package",
  "→ choose another encoder",
  "→ let the profile",
  "only 15.0 of 30",
  "FAULT  board",
  "→ see to cooling",
  "→ use the board's own",
  "sound lost",
  "sound is back",
  "the sound's device hangs",
  "no room for the embedded lobby's keys",
];
