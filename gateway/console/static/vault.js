// A key is sealed here for the gateway's vault, and leaves this page in no other form.
// HPKE (RFC 9180), base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, as
// actors/vault/delivery.py opens it. The field with the key has no name: no browser
// sends it, with or without this script.
(() => {
  "use strict";
  const form = document.querySelector("[data-seal]");
  if (!form) return;
  const problem = form.querySelector("[data-seal-problem]");
  const field = form.querySelector("[data-key]");
  if (!field) return;
  const tell = (text) => { problem.textContent = text; problem.hidden = !text; };

  const utf8 = new TextEncoder();
  const join = (...parts) => {
    const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of parts) { all.set(part, at); at += part.length; }
    return all;
  };
  const number = (value, size) => {
    const bytes = new Uint8Array(size);
    for (let at = size - 1; at >= 0; at -= 1) { bytes[at] = value & 255; value >>>= 8; }
    return bytes;
  };
  const bytesOf = (base64) => Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  const base64Of = (bytes) => btoa(Array.from(bytes, (one) => String.fromCharCode(one)).join(""));

  const KEM = join(utf8.encode("KEM"), number(0x0020, 2));
  const SUITE = join(utf8.encode("HPKE"), number(0x0020, 2), number(0x0001, 2), number(0x0002, 2));
  const VERSION = utf8.encode("HPKE-v1");
  const NONE = new Uint8Array(0);

  const hmac = async (key, data) => {
    const made = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    return new Uint8Array(await crypto.subtle.sign("HMAC", made, data));
  };
  // An empty salt is 32 zeros (RFC 5869); no browser takes a key of no bytes.
  const extract = (salt, label, input, suite) =>
    hmac(salt.length ? salt : new Uint8Array(32), join(VERSION, suite, utf8.encode(label), input));
  // One block is enough: nothing here is longer than SHA-256's 32 bytes.
  const expand = async (key, label, info, size, suite) =>
    (await hmac(key, join(number(size, 2), VERSION, suite, utf8.encode(label), info, number(1, 1)))).slice(0, size);

  const seal = async (key, publicKey, boundTo) => {
    const curve = { name: "X25519" };
    const theirs = await crypto.subtle.importKey("raw", publicKey, curve, false, []);
    const own = await crypto.subtle.generateKey(curve, false, ["deriveBits"]);
    const sent = new Uint8Array(await crypto.subtle.exportKey("raw", own.publicKey));
    const dh = new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, own.privateKey, 256));
    const prk = await extract(NONE, "eae_prk", dh, KEM);
    const shared = await expand(prk, "shared_secret", join(sent, publicKey), 32, KEM);
    const context = join(
      number(0, 1), await extract(NONE, "psk_id_hash", NONE, SUITE), await extract(NONE, "info_hash", boundTo, SUITE),
    );
    const secret = await extract(shared, "secret", NONE, SUITE);
    const bytes = await expand(secret, "key", context, 32, SUITE);
    const iv = await expand(secret, "base_nonce", context, 12, SUITE);
    const aes = await crypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt"]);
    return join(sent, new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, aes, key)));
  };
  // Each part behind its length, as sealing.py's `lp`.
  const bound = (...parts) => join(...parts.flatMap((part) => {
    const bytes = utf8.encode(part);
    return [number(bytes.length, 4), bytes];
  }));

  if (!globalThis.crypto?.subtle) {
    tell("This browser seals only over https or on localhost. Open the Console there, or use `stagedoor vault add`.");
    field.disabled = true;
    if (field.required) form.querySelector("button.main").disabled = true;
    return;
  }
  // A key may be left out where a form is about more than it.
  form.addEventListener("submit", async (event) => {
    if (event.defaultPrevented || (!field.required && !field.value.trim())) return;
    event.preventDefault();
    tell("");
    const value = (name) => (form.elements[name]?.value ?? "").trim();
    const provider = value(form.dataset.sealProvider || "provider");
    const name = value(form.dataset.sealName || "name");
    // The button that was pressed says what is to be done.
    const pressed = event.submitter?.name ? event.submitter : null;
    try {
      const sealed = await seal(
        utf8.encode(field.value.trim()), bytesOf(form.dataset.publicKey),
        bound(
          "gwv-delivery", value("tenant") || form.dataset.tenant, value("environment") || form.dataset.environment,
          provider, name || "default",
        ),
      );
      form.elements.delivery.value = base64Of(sealed);
    } catch (error) {
      tell(`The key could not be sealed (${error.name}). Use \`stagedoor vault add\` instead.`);
      return;
    }
    field.value = "";
    if (pressed) form.append(Object.assign(document.createElement("input"), { type: "hidden", name: pressed.name, value: pressed.value }));
    form.submit();
  });
})();
