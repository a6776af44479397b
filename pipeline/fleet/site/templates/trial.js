// Loads the scripts and the model when it is first asked to, and shows what `answer` below makes of the form.
"use strict";

const one = (id) => document.getElementById(id);
const given = JSON.parse(one("given").textContent);
let model;

// A script is fetched as bytes, which are the pinned ones or none; the browser runs these.
async function script({ address, integrity }, type) {
  const bytes = await (await fetch(address, { integrity })).arrayBuffer();
  return URL.createObjectURL(new Blob([bytes], { type }));
}

async function load() {
  const [library, factory, wasm] = await Promise.all([
    script(given.scripts.library, "text/javascript"),
    script(given.scripts.factory, "text/javascript"),
    script(given.scripts.wasm, "application/wasm"),
  ]);
  const { env, pipeline } = await import(library);
  env.remoteHost = given.hub;
  env.remotePathTemplate = `{model}/resolve/${given.commit}/`; // 4.3.2 also asks for main where a revision is named
  env.backends.onnx.wasm.wasmPaths = { mjs: factory, wasm };
  const progress_callback = ({ status, progress }) => {
    if (status === "progress_total" && one("button").disabled) say(`Loading the model: ${Math.floor(progress)} %`);
  };
  return pipeline(given.task, given.repository, { ...given.settings, progress_callback });
}

function say(text) {
  one("state").textContent = text;
}

one("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  one("button").disabled = true;
  try {
    say("Loading the scripts");
    model ??= await load();
    say("Answering");
    const began = performance.now();
    one("answer").textContent = await answer(model);
    say(`Answered in ${((performance.now() - began) / 1000).toPrecision(2)} s.`);
    one("button").textContent = "Answer";
  } catch (error) {
    one("answer").textContent = "";
    say(`It did not answer: ${error.message ?? error}`);
  }
  one("button").disabled = false;
});
