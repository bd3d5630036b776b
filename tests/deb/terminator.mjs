// TLS in front of the owner's lobby, as in the field: `node terminator.mjs CERTIFICATE KEY PORT`. Runs in the guest's network.

import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { createServer } from "node:tls";

const [certificate, key, port] = process.argv.slice(2);
createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (outside) => {
  const inside = connect(Number(port), "127.0.0.1");
  outside.pipe(inside).pipe(outside);
  // The end of one is the end of the other; a lobby that is away is the host's to notice.
  for (const [one, other] of [[outside, inside], [inside, outside]]) one.on("error", () => other.destroy()).on("close", () => other.destroy());
})
  .on("tlsClientError", () => {}) // one that hangs up is no concern of anybody's
  .listen(443, "127.0.0.1", () => console.log("ready"));
