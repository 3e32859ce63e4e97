// The settings of the form as a developer would send them.

import { button, copy, h } from "./dom.js";

/**
 * A request, as the form would send it.
 * @typedef {object} Ask
 * @property {string} model  owner/name.
 * @property {Record<string, import("./schema.js").Value>} inputs  plain values by name.
 * @property {Record<string, string>} files  names of files, by the name of the input.
 * @property {boolean} hasToken  whether the server wants one.
 */
/** @typedef {Ask & {origin: string}} Request  where it is sent, too. */

/** @type {Record<string, (request: Request) => string>} */
const LANGUAGES = { curl, Python: python, JavaScript: javascript, "cog predict": cog };

/**
 * The code for each way in, ready to paste.
 * @param {Ask} ask
 */
export function codePanel(ask) {
  const code = h("code", { dir: "ltr" });
  const shown = h("pre", { tabindex: 0, role: "region", "aria-label": "Code" }, code);
  const language = h(
    "select",
    { "aria-label": "Language" },
    ...Object.keys(LANGUAGES).map((name) => h("option", {}, name)),
  );
  const before = localStorage.getItem("language");
  if (before && before in LANGUAGES) language.value = before;
  const show = () => {
    code.textContent = LANGUAGES[language.value]({ ...ask, origin: location.origin });
    localStorage.setItem("language", language.value);
  };
  language.addEventListener("change", show);
  show();
  return [
    h(
      "div",
      { class: "pair" },
      language,
      button("Copy", (event) => copy(code.textContent, event.target)),
    ),
    shown,
    h(
      "p",
      { class: "hint" },
      "The same request as the form sends. All of the API: ",
      h("a", { href: "/docs" }, "documentation"),
      ".",
    ),
  ];
}

/** @param {unknown} text */
const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
/** @param {string[]} lines */
const indented = (lines) => lines.map((line) => `    ${line}\n`).join("");

/** @param {Request} request */
function curl({ model, inputs, files, hasToken, origin }) {
  const json = JSON.stringify({ input: inputs });
  const head = [
    `curl -s ${origin}/v1/models/${model}/predictions`,
    "-H 'Content-Type: application/json'",
    "-H 'Prefer: wait'",
    ...(hasToken ? ['-H "Authorization: Bearer $REPLICATE_API_TOKEN"'] : []),
  ].join(" \\\n  ");
  if (!Object.keys(files).length) return `${head} \\\n  -d ${quoted(json)}`;
  // The files go in as data URLs, behind the plain inputs.
  const parts = Object.entries(files).map(([name, file], place) => {
    const before = place || Object.keys(inputs).length ? "," : "";
    return `  printf '%s' ${quoted(`${before}"${name}":"data:${typeOf(file)};base64,`)}\n  base64 < ${quoted(file)} | tr -d '\\n'\n  printf '"'\n`;
  });
  return `(\n  printf '%s' ${quoted(json.slice(0, -2))}\n${parts.join("")}  printf '}}'\n) | ${head} \\\n  -d @-`;
}

/** @param {Request} request */
function python({ model, inputs, files, hasToken, origin }) {
  /** @type {Record<string, string>} */
  const constants = { true: "True", false: "False", null: "None" };
  const lines = [
    ...Object.entries(inputs).map(
      ([name, value]) => `"${name}": ${constants[JSON.stringify(value)] ?? JSON.stringify(value)},`,
    ),
    ...Object.entries(files).map(
      ([name, file]) => `"${name}": open(${JSON.stringify(file)}, "rb"),`,
    ),
  ];
  const auth = hasToken ? 'os.environ["REPLICATE_API_TOKEN"]' : '"none"';
  return `${hasToken ? "import os\n\n" : ""}import replicate  # pip install replicate

client = replicate.Client(base_url="${origin}", api_token=${auth})
pictures = client.run(
    "${model}",
    input={
${indented(lines.map((line) => `    ${line}`))}    },
)
for number, picture in enumerate(pictures):
    with open(f"picture-{number}.${inputs.output_format ?? "png"}", "wb") as file:
        file.write(picture.read())
`;
}

/** @param {Request} request */
function javascript({ model, inputs, files, hasToken, origin }) {
  const lines = [
    ...Object.entries(inputs).map(([name, value]) => `${name}: ${JSON.stringify(value)},`),
    ...Object.entries(files).map(
      ([name, file]) => `${name}: await readFile(${JSON.stringify(file)}),`,
    ),
  ];
  const auth = hasToken ? "process.env.REPLICATE_API_TOKEN" : '"none"';
  return `import { readFile, writeFile } from "node:fs/promises";
import Replicate from "replicate"; // npm install replicate

const replicate = new Replicate({ baseUrl: "${origin}/v1", auth: ${auth} });
const pictures = await replicate.run("${model}", {
  input: {
${indented(lines)}  },
});
for (const [number, picture] of pictures.entries()) {
  await writeFile(\`picture-\${number}.${inputs.output_format ?? "png"}\`, picture);
}
`;
}

/** @param {Request} request */
function cog({ inputs, files }) {
  const flags = [
    ...Object.entries(inputs).flatMap(([name, value]) =>
      [value].flat().map((one) => `-i ${name}=${quoted(one)}`),
    ),
    ...Object.entries(files).map(([name, file]) => `-i ${name}=@${quoted(file)}`),
  ];
  return `cog predict stable-diffusion \\\n  ${flags.join(" \\\n  ")}\n\n# Without a container, in the project's folder:\nscripts/predict \\\n  ${flags.join(" \\\n  ")}\n`;
}

/** @type {Record<string, string>} */
const TYPES = { jpg: "image/jpeg", jpeg: "image/jpeg", webp: "image/webp", gif: "image/gif" };

/** @param {string} file: its name. */
const typeOf = (file) => TYPES[file.replace(/.*\./s, "").toLowerCase()] ?? "image/png";
