// Reading offers and writing answers by hand, for the checks and for the attackers.

const lines = (sdp) => sdp.split(/\r?\n/).filter(Boolean);

/** The media sections of a description: `{kind, lines}` each. */
export function sections(sdp) {
  const found = [];
  for (const line of lines(sdp)) {
    if (line.startsWith("m=")) found.push({ kind: line.slice(2).split(" ")[0], lines: [] });
    found.at(-1)?.lines.push(line);
  }
  return found;
}

/** The values of an attribute in a section: `a=name:value`. */
export function attributes(section, name) {
  return section.lines.filter((l) => l.startsWith(`a=${name}:`)).map((l) => l.slice(name.length + 3));
}

/** `profile-level-id` of the section's H.264, lower case (RFC 6184, 8.1). */
export function profileLevelId(section) {
  for (const fmtp of attributes(section, "fmtp")) {
    const found = /profile-level-id=([0-9a-f]{6})/i.exec(fmtp);
    if (found) return found[1].toLowerCase();
  }
  return null;
}

/** An answer that a receive-only browser could give, with ICE and DTLS credentials that lead nowhere. */
export function plausibleAnswer(offer) {
  return `${lines(offer)
    .filter((l) => !/^a=(ssrc|ssrc-group|msid|candidate|end-of-candidates)/.test(l))
    .map((l) =>
      l
        .replace(/^o=.*/, "o=- 4611731400430051336 2 IN IP4 127.0.0.1")
        .replace("a=sendonly", "a=recvonly")
        .replace("a=sendrecv", "a=recvonly")
        .replace("a=setup:actpass", "a=setup:active")
        .replace(/^a=ice-ufrag:.*/, "a=ice-ufrag:WRNG")
        .replace(/^a=ice-pwd:.*/, "a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa")
        .replace(/^a=fingerprint:.*/, `a=fingerprint:sha-256 ${Array(32).fill("AB").join(":")}`),
    )
    .join("\r\n")}\r\n`;
}
