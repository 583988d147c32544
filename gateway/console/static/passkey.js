// Passkeys: options from the server, an answer of the authenticator back to it.
(() => {
  "use strict";
  if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON) return;

  const post = (path, fields) => fetch(path, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded", "x-csrf": document.body.dataset.csrf || "" },
    body: new URLSearchParams(fields),
    redirect: "error",
  });
  const told = (box, text) => {
    const problem = box.querySelector(".problem");
    problem.textContent = text;
    problem.hidden = !text;
  };

  const login = document.querySelector("[data-passkey-login]");
  if (login) {
    login.hidden = false;
    login.querySelector("button").addEventListener("click", async (event) => {
      told(login, "");
      try {
        const asked = await (await post("/console/login/passkey/options", {})).json();
        const answer = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(asked) });
        const reply = await post("/console/login/passkey", {
          answer: JSON.stringify(answer.toJSON()), next: event.target.dataset.next,
        });
        const said = await reply.json();
        if (!reply.ok) { told(login, said.error); return; }
        location.assign(said.next);
      } catch (error) {
        if (error.name !== "NotAllowedError") told(login, "The passkey could not be used.");
      }
    });
  }

  const adding = document.querySelector("[data-passkey-add]");
  if (adding) {
    adding.hidden = false;
    adding.addEventListener("submit", async (event) => {
      event.preventDefault();
      told(adding, "");
      try {
        const asked = await (await post("/console/settings/me/passkeys/options", {})).json();
        const made = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(asked) });
        const reply = await post("/console/settings/me/passkeys", {
          answer: JSON.stringify(made.toJSON()), name: adding.elements.name.value,
        });
        if (!reply.ok) { told(adding, (await reply.json()).error); return; }
        location.assign("/console/settings/me?done=added");
      } catch (error) {
        if (error.name !== "NotAllowedError") told(adding, "The passkey could not be made.");
      }
    });
  }
})();
