//! From the text of a template to instructions that keep track of who wrote what.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::machinery::{tokenize, CompiledTemplate, Instruction, Instructions, TemplateConfig, Token};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Error, ErrorKind};

use crate::environment::{CHECK, CONCAT, ITEM, KEEP, MAP};
use crate::marks::{GENERATION_END, GENERATION_START};

const MAX_TEMPLATE_BYTES: usize = 256 * 1024;
/// Between "{{" or "{%" and its end: a chain of operators becomes a tree as deep as it is long.
const MAX_TOKENS_OF_A_TAG: usize = 1024;
/// All tags: branches of one `if` become a tree as deep as there are branches.
const MAX_TAGS: usize = 2048;

const GENERATION: &str = "__generation__";
const GENERATED: &str = "__generated__";

pub struct Template {
    pub instructions: Instructions<'static>,
    pub blocks: BTreeMap<&'static str, Instructions<'static>>,
    source: *mut str,
}

// SAFETY: `source` is only read, through `instructions`, until it is freed.
unsafe impl Send for Template {}
unsafe impl Sync for Template {}

impl Drop for Template {
    fn drop(&mut self) {
        self.instructions = Instructions::new("", "");
        // SAFETY: it was leaked in `compile`, and what referred to it is gone.
        drop(unsafe { Box::from_raw(self.source) });
    }
}

fn syntax() -> Result<SyntaxConfig, Error> {
    // As transformers sets them.
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

fn too_much(what: String) -> Error {
    Error::new(ErrorKind::SyntaxError, what)
}

fn check_size(source: &str) -> Result<(), Error> {
    let (mut tokens, mut tags) = (0, 0);
    for token in tokenize(source, false, syntax()?) {
        let (token, span) = token?;
        tokens += 1;
        match token {
            Token::VariableStart | Token::BlockStart => {
                tokens = 0;
                tags += 1;
            }
            Token::TemplateData(_) => tokens = 0,
            _ => {}
        }
        if tokens > MAX_TOKENS_OF_A_TAG {
            return Err(too_much(format!(
                "line {}: expected at most {MAX_TOKENS_OF_A_TAG} words in an expression", span.start_line
            )));
        }
    }
    if tags > MAX_TAGS {
        return Err(too_much(format!("expected at most {MAX_TAGS} tags, found {tags}")));
    }
    Ok(())
}

/// transformers' own tag `{% generation %}` as tags of the language, on the same lines and with the same white space.
fn with_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let comment = rest.find("{#").filter(|comment| *comment < start);
        if let Some(end) = comment.and_then(|comment| rest[comment..].find("#}").map(|end| comment + end + 2)) {
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let Some(end) = rest[start + 2..].find("%}").map(|end| start + 2 + end) else { break };
        let inner = &rest[start + 2..end];
        let left = if inner.starts_with(['-', '+']) { &inner[..1] } else { "" };
        let right = if inner.len() > left.len() && inner.ends_with(['-', '+']) { &inner[inner.len() - 1..] } else { "" };
        let lines = "\n".repeat(inner.matches('\n').count());
        out.push_str(&rest[..start]);
        match inner[left.len()..inner.len() - right.len()].trim() {
            "generation" => out.push_str(&format!("{{%{left} with {GENERATION} = 1 {lines}{right}%}}")),
            "endgeneration" => {
                out.push_str(&format!("{{%{left} set {GENERATED} = 1 {lines}%}}{{% endwith {right}%}}"));
            }
            _ => out.push_str(&rest[start..end + 2]),
        }
        rest = &rest[end + 2..];
    }
    out.push_str(rest);
    out
}

/// What an instruction becomes, with what is to stand before and after it.
fn rewritten(instruction: Instruction<'static>) -> Vec<Instruction<'static>> {
    let call = |name, arguments| Instruction::CallFunction(name, Some(arguments));
    match instruction {
        Instruction::Eq => vec![call("==", 2)],
        Instruction::Ne => vec![call("!=", 2)],
        Instruction::Lt => vec![call("<", 2)],
        Instruction::Lte => vec![call("<=", 2)],
        Instruction::Gt => vec![call(">", 2)],
        Instruction::Gte => vec![call(">=", 2)],
        Instruction::In => vec![call("in", 2)],
        Instruction::BuildMap(pairs) if pairs <= MAX_TOKENS_OF_A_TAG => vec![call(MAP, 2 * pairs as u16)],
        Instruction::GetItem => vec![call(ITEM, 2)],
        Instruction::StringConcat => vec![call(CONCAT, 2)],
        Instruction::StoreLocal(GENERATION) => vec![instruction, Instruction::EmitRaw(GENERATION_START)],
        Instruction::StoreLocal(GENERATED) => vec![instruction, Instruction::EmitRaw(GENERATION_END)],
        Instruction::StoreLocal(_) => vec![call(KEEP, 1), instruction],
        Instruction::SetAttr(_) => vec![Instruction::Swap, call(CHECK, 1), Instruction::Swap, instruction],
        other => vec![other],
    }
}

fn retarget(instruction: &mut Instruction<'static>, places: &[u32]) {
    if let Instruction::Iterate(target)
    | Instruction::Jump(target)
    | Instruction::JumpIfFalse(target)
    | Instruction::JumpIfFalseOrPop(target)
    | Instruction::JumpIfTrueOrPop(target)
    | Instruction::BuildMacro(_, target, _) = instruction
    {
        if let Some(place) = places.get(*target as usize) {
            *target = *place;
        }
    }
}

fn rewrite(instructions: &Instructions<'static>) -> Result<Instructions<'static>, Error> {
    let all: Vec<_> = (0..).map_while(|i| instructions.get(i)).collect();
    let mut places = Vec::with_capacity(all.len() + 1);
    let mut next = 0;
    for instruction in &all {
        places.push(next);
        next += rewritten((*instruction).clone()).len() as u32;
    }
    places.push(next);
    let mut out = Instructions::new(instructions.name(), instructions.source());
    for (i, instruction) in all.into_iter().enumerate() {
        let line = instructions.get_line(i as u32).unwrap_or(0);
        if matches!(instruction, Instruction::CompareAndPreserve(_)) {
            let what = "expected comparisons of two values, found a chain of them";
            return Err(too_much(format!("line {line}: {what}")));
        }
        for mut instruction in rewritten(instruction.clone()) {
            retarget(&mut instruction, &places);
            out.add_with_line(instruction, u16::try_from(line).unwrap_or(u16::MAX));
        }
    }
    Ok(out)
}

pub fn compile(source: &str) -> Result<Template, Error> {
    if source.len() > MAX_TEMPLATE_BYTES {
        return Err(too_much(format!("expected at most {MAX_TEMPLATE_BYTES} bytes, found {}", source.len())));
    }
    let source = with_generation(source);
    check_size(&source)?;
    let config = TemplateConfig { syntax_config: syntax()?, default_auto_escape: Arc::new(|_| AutoEscape::None) };
    let source: *mut str = Box::into_raw(source.into_boxed_str());
    let mut template = Template { instructions: Instructions::new("", ""), blocks: BTreeMap::new(), source };
    // SAFETY: `template` frees it when it is dropped, after the instructions.
    let compiled = CompiledTemplate::new("chat template", unsafe { &*source }, &config)?;
    template.instructions = rewrite(&compiled.instructions)?;
    Ok(template)
}
