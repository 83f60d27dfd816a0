// The choice of a model and a version, and of a second one to compare it with.
import { listModels } from "./api.js";
import { $ } from "./dom.js";
import { t } from "./texts.js";

export const short = (version) => version.slice(0, 8);

// One choice for a model that answers in one version; with several, the server's choice and each of them.
function modelOptions(model, index, models) {
  const versions = models.filter((other) => other.id === model.id);
  if (versions.length === 1) return [new Option(`${model.id} (${short(model.version)})`, model.id)];
  const one = new Option(`${model.id} (${short(model.version)})`, `${model.id}@${model.version}`);
  return versions[0] === model ? [new Option(model.id, model.id), one] : [one];
}

function offer(select, options) {
  const chosen = select.value;
  select.replaceChildren(...options);
  if (options.some((option) => option.value === chosen)) select.value = chosen;
}

// What a question goes to: one name, or two to compare; undefined is the server's choice.
export function chosenModels() {
  const first = $("model").value || undefined;
  return $("compare").value ? [first, $("compare").value] : [first];
}

let problem = "";  // as the status shows it; what else stands there stays

// Resolves to whether the server was reached.
export async function loadModels(say) {
  const shown = problem;
  let reached = false;
  try {
    const models = (await listModels($("token").value)).filter((model) => (model.root ?? model.id) === model.id);
    const options = models.flatMap(modelOptions);
    reached = true;
    offer($("model"), options);
    offer($("compare"), [new Option(t("compareNone"), ""), ...options.map((option) => option.cloneNode(true))]);
    $("compare-label").hidden = options.length < 2;
    if (options.length < 2) $("compare").value = "";
    problem = models.length ? "" : t("noModel");
  } catch (error) {
    problem = error.message;
  }
  if (problem || $("status").textContent === shown) say(problem);
  return reached;
}
