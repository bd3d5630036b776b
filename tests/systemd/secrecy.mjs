// Secrets: handed over by systemd, readable by nobody else, and found nowhere.

import { check } from "../guest/suite.mjs";
import { CREDENTIALS, usesCredentials } from "../guest/unit.mjs";

/** The settings of a device that is its own lobby. */
const EMBEDDED = `
[lobby]
url = ""
[lobby.auth]
secret_file = ""
subject = ""
[embedded_lobby]
enabled = true
listen = "127.0.0.1:8443"
certificate_file = "/etc/perch/tls-certificate"
key_file = "tls-key"
`;

/** The settings of a device that was given a ready-made token. */
const WITH_TOKEN = `
[lobby.auth]
secret_file = ""
subject = ""
token_file = "lobby-token"
`;
const MINT = "(umask 077 && perch token --secret-file /etc/lobby-secret --subject porch >/etc/perch/lobby-token)";
/** Whether the daemon's copy is what root's file holds now. */
const SAME = "cmp -s /etc/perch/lobby-token /run/credentials/perch.service/lobby-token";

/** @returns {import("../guest/suite.mjs").Case[]} */
export const secrecy = (secrets) => [
  {
    name: "credentials",
    holds: "the secrets' files are closed to the perch user; the daemon is live with what systemd hands it",
    run: async (guest) => {
      await usesCredentials(guest);
      return `${CREDENTIALS.join(", ")}: root's, 0600; live by LoadCredential=`;
    },
  },
  {
    name: "a credential that is not there",
    holds: "nothing starts with less than it was given; the journal says what is wrong (systemd 252 does not name the file)",
    run: async (guest) => {
      const before = await guest.mark();
      await guest.run("mv /etc/perch/turn-secret /etc/perch/gone && systemctl restart --no-block perch");
      try {
        return (await guest.entry("_PID=1 -g status=243/CREDENTIALS", before)).MESSAGE;
      } finally {
        await guest.run("mv /etc/perch/gone /etc/perch/turn-secret && systemctl restart perch", 60);
      }
    },
  },
  {
    name: "the embedded lobby's TLS key",
    holds: "root's alone, handed over as a credential; the lobby serves with its certificate",
    run: async (guest) => {
      await guest.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=porch.test -keyout /etc/perch/tls-key -out /etc/perch/tls-certificate && chmod 600 /etc/perch/tls-key");
      await guest.write("/run/systemd/system/perch.service.d/tls.conf", "[Service]\nLoadCredential=tls-key:/etc/perch/tls-key\n");
      try {
        return await guest.withSettings(EMBEDDED, async () => {
          await guest.becomes("active", 60);
          const { code } = await guest.attempt("runuser -u perch -- cat /etc/perch/tls-key");
          check(code !== 0, "the perch user can read /etc/perch/tls-key");
          const seen = await guest.run("openssl s_client -connect 127.0.0.1:8443 -CAfile /etc/perch/tls-certificate -verify_return_error </dev/null 2>&1");
          check(/subject=CN = porch\.test/.test(seen) && /Verification: OK/.test(seen), seen);
          return `TLS on 8443 as porch.test, verified; the key is root's; "${await guest.says(/^live as /)}"`;
        });
      } finally {
        await guest.run("rm -f /run/systemd/system/perch.service.d/tls.conf && systemctl daemon-reload");
      }
    },
  },
  {
    name: "a token file",
    holds: "handed over as a credential, it is a copy: a renewed one is there after a restart, and the daemon is live with either",
    run: async (guest) => {
      const dropIn = "/run/systemd/system/perch.service.d/token.conf";
      await guest.run(MINT);
      await guest.write(dropIn, "[Service]\nLoadCredential=lobby-token:/etc/perch/lobby-token\n");
      try {
        return await guest.withSettings(WITH_TOKEN, async () => {
          await guest.becomes("active", 60);
          const { code } = await guest.attempt("runuser -u perch -- cat /etc/perch/lobby-token");
          check(code !== 0, "the perch user can read /etc/perch/lobby-token");
          check((await guest.attempt(SAME)).code === 0, "the credential is not root's file");
          // Another second, or it would be the same token.
          await guest.until("a token that differs", 10, async () => {
            await guest.run(MINT);
            return (await guest.attempt(SAME)).code !== 0;
          });
          await guest.run("systemctl restart perch", 60);
          check((await guest.attempt(SAME)).code === 0, "a restart did not take the renewed token");
          await guest.becomes("active", 60);
          return `live with the credential; renewed, the old copy stays until a restart; "${await guest.says(/^live as /)}"`;
        });
      } finally {
        await guest.run(`rm -f ${dropIn} /etc/perch/lobby-token && systemctl daemon-reload`);
      }
    },
  },
  {
    name: "no secret anywhere",
    holds: "none in unit properties, journal, command line, environment or files, with everything logged",
    run: (guest) =>
      guest.withDropIn("[Service]\nEnvironment=PERCH_LOG=trace\n", async () => {
        await guest.becomes("active", 60);
        await (await guest.viewer(3)).report();
        const pid = await guest.pid();
        await guest.write("/run/secrets-to-find", `${secrets.join("\n")}\n`);
        const places = {
          "systemctl show": "systemctl show perch",
          journal: "journalctl --all -o export | cat -v",
          cmdline: `tr '\\0' '\\n' </proc/${pid}/cmdline`,
          environ: `tr '\\0' '\\n' </proc/${pid}/environ`,
          state: "cat /var/lib/perch/* /var/cache/perch/* 2>/dev/null | cat -v",
        };
        let lines = 0;
        for (const [place, command] of Object.entries(places)) {
          const { out } = await guest.attempt(`(${command}) >/run/place; wc -l </run/place; grep -c -F -f /run/secrets-to-find /run/place; grep -cE 'eyJ[A-Za-z0-9_-]+[.]eyJ' /run/place`, 60);
          const [size, found, tokens] = out.trim().split("\n").map(Number);
          lines += size;
          check(found === 0, `${found} lines with a secret in ${place}`);
          check(tokens === 0, `${tokens} lines with a token in ${place}`);
          check(place !== "journal" || size > 1000, `the journal has only ${size} lines`);
        }
        await guest.run("rm /run/secrets-to-find /run/place");
        return `0 secrets and 0 tokens in ${lines} lines of ${Object.keys(places).join(", ")} at PERCH_LOG=trace`;
      }),
  },
];
