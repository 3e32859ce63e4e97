// The settings of the form as a developer would send them: each is to be pasted as it is.

import { token } from "../page/api.js";
import { button, byId, copy, h } from "../page/dom.js";
import * as form from "./form.js";
import { keepText } from "./kept.js";

/** @typedef {import("./schema.js").Value} Value */
/**
 * A request, as the form would send it.
 * @typedef {object} Request
 * @property {import("./form.js").Model} model
 * @property {Record<string, Value>} inputs  plain values by name.
 * @property {Record<string, Value>} own  the model's own choices, by name.
 * @property {Record<string, string>} files  names of files, by the name of the input.
 * @property {boolean} hasToken  whether the server wants one.
 * @property {string} origin  where it is sent.
 */

/** @type {Record<string, (request: Request) => string>} */
const LANGUAGES = {
  curl,
  Python: python,
  JavaScript: javascript,
  "Python, OpenAI's client": openai,
  "cog predict": cog,
  JSON: json,
};

/** By task, the class of predict.py that serves it, and the container's name and file. */
/** @type {Record<string, {predictor: string, image: string, file: string?}>} */
const PREDICTORS = {
  img2img: { predictor: "Predictor", image: "stable-diffusion", file: null },
  inpainting: {
    predictor: "Inpainting",
    image: "stable-diffusion-inpainting",
    file: "cog-inpainting.yaml",
  },
  depth: { predictor: "DepthToImage", image: "stable-diffusion-depth", file: "cog-depth.yaml" },
  upscale: {
    predictor: "Upscaler",
    image: "stable-diffusion-upscaler",
    file: "cog-upscaler.yaml",
  },
};

/** Shows the code for what the form holds. */
export function showCode() {
  const request = requestOf();
  if (!request) return;
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
    code.textContent = LANGUAGES[language.value](request);
    keepText("language", language.value);
  };
  language.addEventListener("change", show);
  show();
  const files = Object.values(request.files);
  byId("code").replaceChildren(
    h(
      "div",
      { class: "pair" },
      language,
      button("Copy", (event) => copy(code.textContent, event.target)),
    ),
    shown,
    files.length ? h("p", { class: "hint" }, filesHint(files)) : "",
    h(
      "p",
      { class: "hint" },
      "The same request as the form sends. All of the API: ",
      h("a", { href: "/docs" }, "documentation"),
      ".",
    ),
  );
}

/** @param {string[]} files */
const filesHint = (files) =>
  `Save ${files.join(" and ")} first (Download at the picture); ` +
  `the code reads ${files.length > 1 ? "them" : "it"} from its folder.`;

/** @returns {Request?} null before there is a model. */
function requestOf() {
  const model = form.modelOf();
  if (!model) return null;
  const { plain, files } = form.look();
  return {
    model,
    inputs: { prompt: "", ...plain },
    own: Object.fromEntries(form.all().map(({ name, fallback }) => [name, fallback])),
    files: Object.fromEntries(Object.entries(files).map(([name, { name: file }]) => [name, file])),
    hasToken: Boolean(token()),
    origin: location.origin,
  };
}

/** @param {unknown} text */
const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
/**
 * @param {string[]} lines
 * @param {string} indent
 */
const indented = (lines, indent = "    ") => lines.map((line) => `${indent}${line}\n`).join("");
/** @param {Record<string, Value>} inputs */
const endingOf = (inputs) => String(inputs.output_format ?? "png");

/** @param {Request} request */
function curl({ model, inputs, files, hasToken, origin }) {
  const auth = hasToken ? ['-H "Authorization: Bearer $REPLICATE_API_TOKEN"'] : [];
  const head = [
    `curl -s ${origin}/v1/models/${model.id}/predictions`,
    "-H 'Content-Type: application/json'",
    "-H 'Prefer: wait'",
    ...auth,
    "-o prediction.json",
  ].join(" \\\n  ");
  const text = JSON.stringify({ input: inputs });
  const send = Object.keys(files).length
    ? `(\n  printf '%s' ${quoted(text.slice(0, -2))}\n${dataUrls(files, inputs)}  printf '}}'\n) | ${head} \\\n  -d @-`
    : `${head} \\\n  -d ${quoted(text)}`;
  const get = ["curl -s", ...auth, '"$prediction" -o prediction.json'].join(" ");
  return `${hasToken ? "# Before it: export REPLICATE_API_TOKEN=your-token\n" : ""}${send}
prediction=$(grep -o '"get": *"[^"]*' prediction.json | cut -d '"' -f 4)
while grep -Eq '"status": *"(starting|processing)"' prediction.json; do
  sleep 1
  ${get}
done
number=0
for picture in $(grep -o '"output": *\\[[^]]*' prediction.json | grep -o 'http[^"]*'); do
  curl -s "$picture" -o "picture-$number.${endingOf(inputs)}"
  number=$((number + 1))
done
[ "$number" -gt 0 ] || cat prediction.json
`;
}

/**
 * The files as data URLs, behind the plain inputs.
 * @param {Record<string, string>} files
 * @param {Record<string, Value>} inputs
 */
const dataUrls = (files, inputs) =>
  Object.entries(files)
    .map(([name, file], place) => {
      const before = place || Object.keys(inputs).length ? "," : "";
      const start = `${before}"${name}":"data:${typeOf(file)};base64,`;
      return `  printf '%s' ${quoted(start)}\n  base64 < ${quoted(file)} | tr -d '\\n'\n  printf '"'\n`;
    })
    .join("");

/** @param {Value} value */
function pythonOf(value) {
  /** @type {Record<string, string>} */
  const constants = { true: "True", false: "False", null: "None" };
  const text = JSON.stringify(value);
  return constants[text] ?? text;
}

/** @param {[string, Value][]} entries */
const pythonEntries = (entries) => entries.map(([name, value]) => `"${name}": ${pythonOf(value)},`);

/**
 * How Python reads the token.
 * @param {string} name: of the variable of the environment.
 * @param {boolean} hasToken
 */
const pythonToken = (name, hasToken) =>
  hasToken ? `os.environ["${name}"],  # export ${name}=your-token` : '"none",';

/** @param {Request} request */
function python({ model, inputs, files, hasToken, origin }) {
  const lines = [
    ...pythonEntries(Object.entries(inputs)),
    ...Object.entries(files).map(
      ([name, file]) => `"${name}": open(${JSON.stringify(file)}, "rb"),`,
    ),
  ];
  return `${hasToken ? "import os\n\n" : ""}import replicate  # pip install replicate

client = replicate.Client(
    base_url="${origin}",
    api_token=${pythonToken("REPLICATE_API_TOKEN", hasToken)}
)
pictures = client.run(
    "${model.id}",
    input={
${indented(lines, "        ")}    },
)
for number, picture in enumerate(pictures):
    with open(f"picture-{number}.${endingOf(inputs)}", "wb") as file:
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
  const hint = hasToken ? " // export REPLICATE_API_TOKEN=your-token" : "";
  return `// Save this as picture.mjs, then: npm install replicate && node picture.mjs
import { readFile, writeFile } from "node:fs/promises";
import Replicate from "replicate";

const replicate = new Replicate({
  baseUrl: "${origin}/v1",
  auth: ${auth},${hint}
});
const pictures = await replicate.run("${model.id}", {
  input: {
${indented(lines)}  },
});
for (const [number, picture] of pictures.entries()) {
  await writeFile(\`picture-\${number}.${endingOf(inputs)}\`, picture);
}
`;
}

/** @param {Request} request */
function openai({ model, inputs, own, files, hasToken, origin }) {
  const { prompt, num_images: count, ...others } = inputs;
  // In OpenAI's API a mask has a meaning of its own, and other choices with it.
  const meant = files.mask ? { strength: own.strength, mask_source: own.mask_source } : {};
  const extra = pythonEntries(Object.entries({ ...meant, ...others }));
  const lines = [
    `model="${model.id}",`,
    ...Object.entries(files).map(([name, file]) => `${name}=open(${JSON.stringify(file)}, "rb"),`),
    `prompt=${pythonOf(prompt)},`,
    ...(count ? [`n=${count},`] : []),
    'response_format="b64_json",',
    ...(extra.length ? ["extra_body={", ...extra.map((line) => `    ${line}`), "},"] : []),
  ];
  return `import base64
${hasToken ? "import os\n" : ""}
from openai import OpenAI  # pip install openai

client = OpenAI(
    base_url="${origin}/v1",
    api_key=${pythonToken("OPENAI_API_KEY", hasToken)}
)
answer = client.images.${files.image ? "edit" : "generate"}(
${indented(lines)})
for number, picture in enumerate(answer.data):
    with open(f"picture-{number}.${endingOf(inputs)}", "wb") as file:
        file.write(base64.b64decode(picture.b64_json))
`;
}

/** @param {Request} request */
function cog({ model, inputs, files }) {
  const { predictor, image, file } = PREDICTORS[model.task];
  const flags = [
    ...Object.entries(inputs).flatMap(([name, value]) =>
      [value].flat().map((one) => `-i ${name}=${quoted(one)}`),
    ),
    ...Object.entries(files).map(([name, path]) => `-i ${name}=@${quoted(path)}`),
  ].join(" \\\n  ");
  const build = ["cog build", ...(file ? [`-f ${file}`] : []), `-t ${image}`].join(" ");
  return `# Once, in the project's folder: ${build}
cog predict ${image} \\\n  ${flags}

# Without a container, in the project's folder:
scripts/predict --model ${quoted(model.name)} --predictor ${predictor} \\\n  ${flags}
`;
}

/** @param {Request} request */
function json({ inputs, files }) {
  return `${JSON.stringify({ ...inputs, ...files }, null, 2)}\n`;
}

/** @type {Record<string, string>} */
const TYPES = { jpg: "image/jpeg", jpeg: "image/jpeg", webp: "image/webp", gif: "image/gif" };

/** @param {string} file: its name. */
const typeOf = (file) => TYPES[file.replace(/.*\./s, "").toLowerCase()] ?? "image/png";
