// Every text of the page, in English, German and Chinese. {name} is filled in.

const TEXTS = {
  title: ["llavad – ask about a picture", "llavad – Fragen zu Bildern", "llavad – 看图提问"],
  skip: ["Go to the question", "Zur Frage", "跳到提问框"],
  conversations: ["Conversations", "Gespräche", "对话列表"],
  conversation: ["Conversation", "Gespräch", "对话"],
  model: ["Model", "Modell", "模型"],
  compare: ["Compare with", "Vergleichen mit", "对比"],
  compareNone: ["nothing", "nichts", "不对比"],
  newChat: ["New conversation", "Neues Gespräch", "新对话"],
  newChatHint: ["Start a new conversation; this one stays in the list", "Ein neues Gespräch beginnen; dieses bleibt in der Liste", "开始新对话；当前对话保留在列表中"],
  settings: ["Settings", "Einstellungen", "设置"],
  shortcuts: ["Keyboard shortcuts", "Tastenkürzel", "键盘快捷键"],
  theme: ["Switch between dark and light", "Zwischen Hell und Dunkel wechseln", "切换深色和浅色"],
  temperature: ["Temperature", "Temperatur", "温度"],
  temperatureHint: ["0 takes the likeliest word each time; more is more varied", "0 nimmt stets das wahrscheinlichste Wort; mehr ist abwechslungsreicher", "0 总取最可能的词；越大越多样"],
  maxTokens: ["Longest answer", "Längste Antwort", "最长回答"],
  maxTokensHint: ["in tokens; a word has one or two", "in Tokens; ein Wort hat ein bis drei", "以 token 计；一个汉字约一到两个"],
  topPHint: ["of the likeliest words, those that make up this share; 1 is all", "von den wahrscheinlichsten Wörtern die mit diesem Anteil; 1 sind alle", "只取累计达到该概率的词；1 为全部"],
  topKHint: ["that many of the likeliest words; 0 is all", "so viele der wahrscheinlichsten Wörter; 0 sind alle", "只取最可能的若干词；0 为全部"],
  minPHint: ["no word less likely than this share of the likeliest", "kein Wort unter diesem Anteil des wahrscheinlichsten", "舍去概率低于最大概率此比例的词"],
  seed: ["Seed", "Startzahl", "随机种子"],
  seedHint: ["the same number gives the same answer", "dieselbe Zahl ergibt dieselbe Antwort", "相同的数得到相同的回答"],
  random: ["random", "zufällig", "随机"],
  repetition: ["Repetition penalty", "Wiederholungsmalus", "重复惩罚"],
  repetitionHint: ["above 1 words that stand already get rarer", "über 1 werden Wörter seltener, die schon dastehen", "大于 1 时已出现的词更少见"],
  presence: ["Presence penalty", "Vorkommensmalus", "出现惩罚"],
  presenceHint: ["against each word that has been said", "gegen jedes Wort, das schon gesagt wurde", "针对已说过的词"],
  frequency: ["Frequency penalty", "Häufigkeitsmalus", "频率惩罚"],
  frequencyHint: ["the same, more so the more often it was said", "ebenso, umso mehr, je öfter es gesagt wurde", "同上，说得越多惩罚越大"],
  stopText: ["Stop at", "Aufhören bei", "停止词"],
  stopTextHint: ["the answer ends before this text", "die Antwort endet vor diesem Text", "回答在此文本之前结束"],
  form: ["Form of the answer", "Form der Antwort", "回答格式"],
  formHint: ["a JSON schema: the answer is then JSON of this form, shown as a table", "ein JSON-Schema: die Antwort ist dann JSON dieser Form und steht als Tabelle da", "JSON Schema：回答将是符合该格式的 JSON，并以表格显示"],
  formExample: ['{"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}', '{"type": "object", "properties": {"summe": {"type": "number"}}, "required": ["summe"]}', '{"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}'],
  formWrong: ["This is no JSON schema: {why}", "Das ist kein JSON-Schema: {why}", "这不是 JSON Schema：{why}"],
  notAnObject: ["a schema is an object, {…}", "ein Schema ist ein Objekt, {…}", "Schema 应为对象 {…}"],
  token: ["Access token", "Zugangstoken", "访问令牌"],
  tokenHint: ["kept nowhere: a reload forgets it", "wird nirgends behalten, nach dem Neuladen ist es weg", "不会保存，重新加载后需重填"],
  ifNeeded: ["if needed", "falls nötig", "如有需要"],
  language: ["Language", "Sprache", "语言"],
  reset: ["Back to the defaults", "Auf Vorgaben zurück", "恢复默认"],
  search: ["Search conversations", "Gespräche durchsuchen", "搜索对话"],
  exportAll: ["Export all", "Alle sichern", "全部导出"],
  import: ["Import", "Einlesen", "导入"],
  exportOne: ["Export {name}", "{name} sichern", "导出“{name}”"],
  rename: ["Rename {name}", "{name} umbenennen", "重命名“{name}”"],
  remove: ["Delete {name}", "{name} löschen", "删除“{name}”"],
  reallyRemove: ["Delete “{name}”? This cannot be undone.", "„{name}“ löschen? Das lässt sich nicht rückgängig machen.", "删除“{name}”？此操作无法撤销。"],
  newTitle: ["New title", "Neuer Titel", "新标题"],
  untitled: ["Untitled", "Ohne Titel", "无标题"],
  noConversations: ["No conversations yet. They stay in this browser.", "Noch keine Gespräche. Sie bleiben in diesem Browser.", "还没有对话。对话只保存在此浏览器中。"],
  nothingFound: ["Nothing found.", "Nichts gefunden.", "没有找到。"],
  imported: ["Conversations imported: {count}.", "Eingelesene Gespräche: {count}.", "已导入 {count} 个对话。"],
  notAnExport: ["{name} holds no conversations that this page has exported; nothing was imported.", "{name} enthält keine Gespräche, die diese Seite gesichert hat; nichts wurde eingelesen.", "{name} 不是本页面导出的对话文件，未导入任何内容。"],
  keepsNothing: ["This browser lets the page keep nothing: a reload will lose the conversation. (Or an older tab of this page is open: close it and reload.)", "Dieser Browser lässt die Seite nichts behalten: Neuladen verliert das Gespräch. (Oder ein älterer Tab dieser Seite ist offen: schließen und neu laden.)", "此浏览器不允许页面保存内容：重新加载会丢失对话。（或有旧标签页未关闭：请关闭后重新加载。）"],
  noRoom: ["The browser has no room for this conversation: a reload will lose its newest part. Delete others to make room.", "Der Browser hat keinen Platz für dieses Gespräch: Neuladen verliert den neuesten Teil. Löschen Sie andere.", "浏览器空间不足：重新加载会丢失最新内容。请删除其他对话。"],
  welcome: ["Ask about a picture", "Fragen Sie zu einem Bild", "就图片提问"],
  welcomeHow: ["Drop a picture anywhere on this page, paste one, or choose a file. Then ask.", "Ziehen Sie ein Bild auf diese Seite, fügen Sie eines ein, oder wählen Sie eine Datei. Dann fragen Sie.", "把图片拖到页面、粘贴或选择文件，然后提问。"],
  example1: ["What is in this picture?", "Was ist auf diesem Bild?", "这张图片里有什么？"],
  example2: ["How many objects are there?", "Wie viele Gegenstände sind es?", "有多少个物体？"],
  example3: ["Describe the picture in detail.", "Beschreiben Sie das Bild genau.", "请详细描述这张图片。"],
  yourQuestion: ["Your question", "Ihre Frage", "你的问题"],
  askAbout: ["Ask about the picture", "Fragen Sie zum Bild", "就图片提问"],
  picturesToSend: ["Pictures to send", "Bilder zur Frage", "待发送的图片"],
  choosePicture: ["Choose a picture", "Bild auswählen", "选择图片"],
  takePicture: ["Take a picture", "Bild aufnehmen", "拍照"],
  take: ["Take", "Aufnehmen", "拍摄"],
  cameraName: ["camera.jpg", "kamera.jpg", "camera.jpg"],
  noCamera: ["No camera can be used here.", "Hier ist keine Kamera benutzbar.", "无法使用摄像头。"],
  addLink: ["Picture by address", "Bild über seine Adresse", "通过网址添加图片"],
  linkHow: ["The server fetches it, if it may: whoever runs it lists the hosts.", "Der Server holt es, falls er darf: Wer ihn betreibt, nennt die Hosts.", "由服务器获取；允许的主机由管理员设定。"],
  address: ["Address", "Adresse", "网址"],
  addressHint: ["https://…", "https://…", "https://…"],
  notAnAddress: ["An address begins with https:// or http://", "Eine Adresse beginnt mit https:// oder http://", "网址应以 https:// 或 http:// 开头"],
  add: ["Add", "Hinzufügen", "添加"],
  removePicture: ["Remove {name}", "{name} entfernen", "移除 {name}"],
  enlarge: ["Enlarge {name}", "{name} vergrößern", "放大 {name}"],
  ownSize: ["Its own size, or the window's", "Eigene Größe oder Fenstergröße", "原始大小或适合窗口"],
  notAPicture: ["{name}: {type} is not supported. Use JPEG, PNG, WebP, GIF or BMP.", "{name}: {type} wird nicht unterstützt. Nehmen Sie JPEG, PNG, WebP, GIF oder BMP.", "{name}：不支持 {type}。请使用 JPEG、PNG、WebP、GIF 或 BMP。"],
  thisKind: ["this kind of file", "diese Art Datei", "此类文件"],
  dropHere: ["Drop the picture here", "Bild hier ablegen", "把图片放到这里"],
  send: ["Send", "Senden", "发送"],
  stop: ["Stop", "Stopp", "停止"],
  cancel: ["Cancel", "Abbrechen", "取消"],
  close: ["Close", "Schließen", "关闭"],
  user: ["You", "Sie", "你"],
  assistant: ["Answer", "Antwort", "回答"],
  copy: ["Copy", "Kopieren", "复制"],
  copied: ["Copied", "Kopiert", "已复制"],
  notCopied: ["The browser does not let the page copy", "Der Browser lässt die Seite nicht kopieren", "浏览器不允许复制"],
  edit: ["Edit the question", "Frage ändern", "修改问题"],
  askAgain: ["Ask again", "Neu fragen", "重新提问"],
  regenerate: ["Answer again (at temperature 0 it is the same)", "Neu antworten (bei Temperatur 0 gleich)", "重新回答（温度为 0 时结果相同）"],
  proceed: ["Continue the answer", "Antwort fortsetzen", "继续回答"],
  good: ["Good answer", "Gute Antwort", "回答得好"],
  bad: ["Bad answer", "Schlechte Antwort", "回答不好"],
  correct: ["Say what it should have been", "Sagen, wie sie hätte lauten sollen", "说明正确的回答"],
  judged: ["The server has noted it.", "Der Server hat es notiert.", "服务器已记录。"],
  corrected: ["The server has noted what it should have been.", "Der Server hat notiert, wie sie hätte lauten sollen.", "服务器已记录正确的回答。"],
  keepsTexts: ["This server keeps conversations without pictures for {days} days, to learn from them.", "Dieser Server behält Gespräche ohne Bilder {days} Tage lang, um daraus zu lernen.", "此服务器会保留不含图片的对话 {days} 天，用于学习。"],
  keepsPictures: ["This server keeps conversations and their pictures for {days} days, to learn from them.", "Dieser Server behält Gespräche und ihre Bilder {days} Tage lang, um daraus zu lernen.", "此服务器会保留对话及其图片 {days} 天，用于学习。"],
  keep: ["Go on with this one", "Mit dieser weiter", "采用此回答"],
  branch: ["Version {place} of {count}", "Fassung {place} von {count}", "第 {place} 版，共 {count} 版"],
  branchBefore: ["The version before", "Vorige Fassung", "上一版"],
  branchAfter: ["The next version", "Nächste Fassung", "下一版"],
  firstToken: ["first token {seconds} s", "erstes Token {seconds} s", "首个 token {seconds} 秒"],
  pace: ["{rate} tokens/s", "{rate} Tokens/s", "{rate} token/秒"],
  tokens: ["{prompt} + {answer} tokens", "{prompt} + {answer} Tokens", "{prompt} + {answer} token"],
  fromCache: ["{count} from cache", "{count} aus dem Cache", "{count} 来自缓存"],
  cut: ["cut at the longest answer", "bei der längsten Antwort abgeschnitten", "达到最长回答而截断"],
  stopped: ["stopped", "gestoppt", "已停止"],
  badPicture: ["The server cannot use this picture, {name}: {why}", "Der Server kann dieses Bild nicht brauchen, {name}: {why}", "服务器无法使用图片 {name}：{why}"],
  badPictureBefore: ["The server cannot use a picture of this conversation: {why}", "Der Server kann ein Bild dieses Gesprächs nicht brauchen: {why}", "服务器无法使用此对话中的图片：{why}"],
  noModel: ["The server has no model yet.", "Der Server hat noch kein Modell.", "服务器还没有模型。"],
  wantsToken: ["The server wants an access token: put it under Settings. ({why})", "Der Server will ein Zugangstoken: siehe Einstellungen. ({why})", "服务器需要访问令牌：请在设置中填写。（{why}）"],
  tooLarge: ["That is too large for this server. ({why})", "Das ist zu groß für diesen Server. ({why})", "内容超出服务器限制。（{why}）"],
  busy: ["The server is busy. ({why})", "Der Server ist ausgelastet. ({why})", "服务器繁忙。（{why}）"],
  busyFor: ["The server is busy; try again in {seconds} s. ({why})", "Der Server ist ausgelastet; in {seconds} s wieder versuchen. ({why})", "服务器繁忙；请在 {seconds} 秒后重试。（{why}）"],
  notReady: ["The server is not ready to answer. ({why})", "Der Server kann noch nicht antworten. ({why})", "服务器尚未就绪。（{why}）"],
  notReached: ["The server cannot be reached. Is it still running?", "Der Server ist nicht erreichbar. Läuft er noch?", "无法连接服务器。它还在运行吗？"],
  connectionEnded: ["The connection ended in the middle of the answer.", "Die Verbindung endete mitten in der Antwort.", "回答中途连接中断。"],
  keySend: ["Send", "Senden", "发送"],
  keyLine: ["A new line", "Neue Zeile", "换行"],
  keyStop: ["Stop the answer, close a window", "Antwort stoppen, Fenster schließen", "停止回答，关闭窗口"],
  keyEdit: ["Edit the last question (while the field is empty)", "Letzte Frage ändern (bei leerem Feld)", "修改上一个问题（输入框为空时）"],
};
const LANGUAGES = ["en", "de", "zh"];
let column = 0;

export function language() {
  return LANGUAGES[column];
}

export function t(key, values = {}) {
  return TEXTS[key][column].replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

const PLACES = { text: (node, words) => { node.textContent = words; }, title: (node, words) => { node.title = words; },
  hint: (node, words) => { node.placeholder = words; },
  label: (node, words) => {
    node.setAttribute("aria-label", words);
    if (node.nodeName === "BUTTON") node.title = words;
  } };

function apply() {
  document.documentElement.lang = language();
  document.title = t("title");
  for (const [place, put] of Object.entries(PLACES)) {
    document.querySelectorAll(`[data-${place}]`).forEach((node) => put(node, t(node.dataset[place])));
  }
}

// The language `code` if the page has it, otherwise the first of the browser's that it has.
export function chooseLanguage(code) {
  const wishes = [code, ...navigator.languages].map((wish) => String(wish).slice(0, 2));
  column = Math.max(0, LANGUAGES.indexOf(wishes.find((wish) => LANGUAGES.includes(wish))));
  document.getElementById("language").value = language();
  apply();
}

export function listenForLanguage(onChange) {
  document.getElementById("language").addEventListener("change", (event) => {
    chooseLanguage(event.target.value);
    onChange(language());
  });
}
