//! Carries templates out as Go's `text/template` does, over the syntax tree that `gotmpl` parses.

use std::collections::BTreeMap;

use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, PipeNode, Pos, SmolStr};

use crate::functions::{self, Function, Wrong};
use crate::syntax;
use crate::value::{Labels, Struct, Value};

/// Deepest nesting of templates that call each other.
const CALLS_MAX: usize = 200;
/// Most steps of all `range`s together: a template must end.
const STEPS_MAX: u64 = 1_000_000;
/// Longest output in bytes.
const OUTPUT_MAX_BYTES: usize = 64 << 20;

/// A failure: where, at what, and why.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Place of what failed.
    pub(crate) pos: Pos,
    /// What failed, as it stands in the template.
    pub(crate) at: String,
    /// Why.
    pub(crate) why: String,
}

type Result<T> = std::result::Result<T, Failed>;

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One run of a template.
pub(crate) struct Run<'t> {
    templates: &'t BTreeMap<SmolStr, ListNode>,
    functions: fn(&str) -> Option<Function>,
    variables: Vec<(SmolStr, Value)>,
    out: String,
    calls: usize,
    steps: u64,
}

fn failed(pos: Pos, at: impl Into<String>, why: impl Into<String>) -> Failed {
    Failed { pos, at: at.into(), why: why.into() }
}

impl<'t> Run<'t> {
    /// Renders `body` over `data`.
    pub(crate) fn render(
        body: &ListNode,
        templates: &'t BTreeMap<SmolStr, ListNode>,
        functions: fn(&str) -> Option<Function>,
        data: &Value,
    ) -> Result<String> {
        let variables = vec![(SmolStr::from("$"), data.clone())];
        let out = String::new();
        let mut run = Self { templates, functions, variables, out, calls: 0, steps: 0 };
        run.list(data, body)?;
        Ok(run.out)
    }

    fn list(&mut self, dot: &Value, list: &ListNode) -> Result<Flow> {
        for node in &list.nodes {
            let flow = self.node(dot, node)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, dot: &Value, node: &Node) -> Result<Flow> {
        match node {
            Node::Text(text) => self.write(text.pos, &text.text)?,
            Node::Action(action) => {
                let value = self.pipeline(dot, &action.pipe)?;
                if action.pipe.decl.is_empty() {
                    self.write(action.pos, &value.shown())?;
                }
            }
            Node::If(branch) => return self.branch(dot, branch, false),
            Node::With(branch) => return self.branch(dot, branch, true),
            Node::Range(branch) => return self.range(dot, branch),
            Node::List(list) => return self.list(dot, list),
            Node::Template(call) => {
                let at = syntax::template_call(call);
                let Some(body) = self.templates.get(&call.name) else {
                    let why = format!("template {:?} not defined", &*call.name);
                    // Go's place is that of the name.
                    let name = call.pos.offset + "template ".len();
                    return Err(failed(Pos::new(name, call.pos.line), at, why));
                };
                let data = match &call.pipe {
                    Some(pipe) => self.pipeline(dot, pipe)?,
                    None => Value::Nil,
                };
                if self.calls >= CALLS_MAX {
                    return Err(failed(call.pos, at, "exceeded maximum template depth"));
                }
                let outer = std::mem::replace(
                    &mut self.variables,
                    vec![(SmolStr::from("$"), data.clone())],
                );
                self.calls += 1;
                self.list(&data, body)?;
                self.calls -= 1;
                self.variables = outer;
            }
            Node::Define(_) => {}
            Node::Break(_) => return Ok(Flow::Break),
            Node::Continue(_) => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, pos: Pos, text: &str) -> Result<()> {
        if self.out.len() + text.len() > OUTPUT_MAX_BYTES {
            return Err(failed(pos, "", "the output is too long"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn branch(&mut self, dot: &Value, branch: &BranchNode, rebinds: bool) -> Result<Flow> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let flow = match (value.is_true(), &branch.else_body) {
            (true, _) if rebinds => self.list(&value, &branch.body)?,
            (true, _) => self.list(dot, &branch.body)?,
            (false, Some(otherwise)) => self.list(dot, otherwise)?,
            (false, None) => Flow::Next,
        };
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, branch: &BranchNode) -> Result<Flow> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        // What the pipeline declared is set anew for each element.
        self.variables.truncate(mark);
        let elements: Vec<(Value, Value)> = match &value {
            Value::Nil => Vec::new(),
            Value::List(list) => {
                let items = list.items.iter().enumerate();
                items.map(|(at, item)| (Value::Int(at as i64), item.clone())).collect()
            }
            Value::Map(map) => map
                .entries
                .iter()
                .map(|(name, item)| (Value::Text(name.clone()), item.clone()))
                .collect(),
            Value::Int(number) => {
                let most = i64::try_from(STEPS_MAX).unwrap_or(i64::MAX);
                (0..(*number).min(most + 1)).map(|at| (Value::Int(at), Value::Int(at))).collect()
            }
            other => {
                let why = format!("range can't iterate over {}", other.go_text());
                return Err(failed(branch.pipe.pos, syntax::pipe(&branch.pipe), why));
            }
        };
        if elements.is_empty() {
            if let Some(otherwise) = &branch.else_body {
                return self.list(dot, otherwise);
            }
            return Ok(Flow::Next);
        }
        for (key, item) in elements {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                let at = syntax::pipe(&branch.pipe);
                return Err(failed(branch.pos, at, format!("more than {STEPS_MAX} steps")));
            }
            match (branch.pipe.decl.as_slice(), branch.pipe.is_assign) {
                ([], _) => {}
                ([one], true) => self.assign(one, &item),
                ([first, second, ..], true) => {
                    self.assign(first, &key);
                    self.assign(second, &item);
                }
                ([one], false) => self.variables.push((one.clone(), item.clone())),
                ([first, second, ..], false) => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            let flow = self.list(&item, &branch.body)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn assign(&mut self, name: &str, value: &Value) {
        if let Some((_, old)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            *old = value.clone();
        }
    }

    fn pipeline(&mut self, dot: &Value, pipe: &PipeNode) -> Result<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.decl {
            if pipe.is_assign {
                self.assign(name, &value);
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        dot: &Value,
        command: &CommandNode,
        last: Option<Value>,
    ) -> Result<Value> {
        let Some((first, rest)) = command.args.split_first() else {
            return Err(failed(command.pos, "", "empty command"));
        };
        match first {
            Expr::Field(_, names) => self.fields(dot, dot, names, first, rest, last),
            Expr::Variable(pos, name, names) => {
                let value = self.variable(*pos, name)?;
                if names.is_empty() {
                    self.no_arguments(first, rest, last.as_ref())?;
                    return Ok(value);
                }
                self.fields(dot, &value, names, first, rest, last)
            }
            Expr::Chain(pos, inner, names) => {
                if matches!(**inner, Expr::Nil(_)) {
                    return Err(failed(
                        *pos,
                        syntax::expr(first),
                        "indirection through explicit nil",
                    ));
                }
                let value = self.argument(dot, inner)?;
                self.fields(dot, &value, names, first, rest, last)
            }
            Expr::Identifier(pos, name) => self.function(dot, *pos, name, command, rest, last),
            Expr::Pipe(_, pipe) => {
                self.no_arguments(first, rest, last.as_ref())?;
                self.pipeline(dot, pipe)
            }
            Expr::Nil(pos) => Err(failed(*pos, "nil", "nil is not a command")),
            _ => {
                self.no_arguments(first, rest, last.as_ref())?;
                self.argument(dot, first)
            }
        }
    }

    fn no_arguments(&self, first: &Expr, rest: &[Expr], last: Option<&Value>) -> Result<()> {
        if rest.is_empty() && last.is_none() {
            return Ok(());
        }
        let at = syntax::expr(first);
        let why = format!("can't give argument to non-function {at}");
        Err(failed(first.pos(), at, why))
    }

    fn variable(&self, pos: Pos, name: &str) -> Result<Value> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| failed(pos, name, format!("undefined variable: {name}")))
    }

    /// The value of an argument.
    fn argument(&mut self, dot: &Value, expr: &Expr) -> Result<Value> {
        match expr {
            Expr::Dot(_) => Ok(dot.clone()),
            Expr::Nil(_) => Ok(Value::Nil),
            Expr::String(_, text) => Ok(Value::text(&**text)),
            Expr::Bool(_, flag) => Ok(Value::Bool(*flag)),
            Expr::Number(_, number) => Ok(match *number {
                gotmpl::parse::Number::Int(number) => Value::Int(number),
                gotmpl::parse::Number::Uint(number) => Value::Float(number as f64),
                gotmpl::parse::Number::Float(number) => Value::Float(number),
            }),
            Expr::Pipe(_, pipe) => self.pipeline(dot, pipe),
            Expr::Field(_, names) => self.fields(dot, dot, names, expr, &[], None),
            Expr::Variable(pos, name, names) => {
                let value = self.variable(*pos, name)?;
                self.fields(dot, &value, names, expr, &[], None)
            }
            Expr::Chain(_, inner, names) => {
                let value = self.argument(dot, inner)?;
                self.fields(dot, &value, names, expr, &[], None)
            }
            Expr::Identifier(pos, name) => {
                let command = CommandNode { pos: *pos, args: vec![expr.clone()] };
                self.function(dot, *pos, name, &command, &[], None)
            }
        }
    }

    /// Follows field names; the last one takes the arguments.
    fn fields(
        &mut self,
        dot: &Value,
        start: &Value,
        names: &[SmolStr],
        whole: &Expr,
        arguments: &[Expr],
        last: Option<Value>,
    ) -> Result<Value> {
        let mut value = start.clone();
        let Some((end, before)) = names.split_last() else {
            return Ok(value);
        };
        for name in before {
            value = self.field(&value, name, whole, None)?;
        }
        if arguments.is_empty() && last.is_none() {
            return self.field(&value, end, whole, None);
        }
        let mut given = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            given.push(self.argument(dot, argument)?);
        }
        given.extend(last);
        self.field(&value, end, whole, Some(given))
    }

    /// A field, or a method where there are arguments.
    fn field(
        &self,
        receiver: &Value,
        name: &str,
        whole: &Expr,
        arguments: Option<Vec<Value>>,
    ) -> Result<Value> {
        let wrong = |why: String| Err(failed(syntax::place(whole), syntax::expr(whole), why));
        match receiver {
            Value::Nil => wrong(format!("nil data; no entry for key \"{name}\"")),
            Value::NilPointer(kind) => wrong(format!("nil pointer evaluating {kind}.{name}")),
            Value::Struct(found) => {
                if name == "Label" && found.labels.is_some() {
                    return label(found, &arguments.unwrap_or_default()).or_else(wrong);
                }
                match found.fields.iter().find(|(known, _)| **known == *name) {
                    Some(_) if arguments.is_some() => {
                        wrong(format!("{name} has arguments but cannot be invoked as function"))
                    }
                    Some((_, value)) => Ok(value.clone()),
                    // The headings are a map for Go.
                    None if matches!(found.labels, Some(Labels::Heading)) => Ok(Value::Nil),
                    None => {
                        wrong(format!("can't evaluate field {name} in type {}", found.type_name))
                    }
                }
            }
            Value::Map(map) => match map.entries.get(name) {
                _ if arguments.is_some() => {
                    wrong(format!("{name} is not a method but has arguments"))
                }
                Some(value) => Ok(value.clone()),
                None if map.is_strict => wrong(format!("map has no entry for key \"{name}\"")),
                None => Ok(Value::Nil),
            },
            other => {
                let kind = match other.type_name() {
                    "[]interface {}" => "interface {}",
                    name => name,
                };
                wrong(format!("can't evaluate field {name} in type {kind}"))
            }
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        pos: Pos,
        name: &str,
        command: &CommandNode,
        arguments: &[Expr],
        last: Option<Value>,
    ) -> Result<Value> {
        if matches!(name, "and" | "or") {
            return self.logic(dot, pos, name, arguments, last);
        }
        let Some(function) = (self.functions)(name) else {
            return Err(failed(pos, name, format!("\"{name}\" is not a defined function")));
        };
        let mut given = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            given.push(self.argument(dot, argument)?);
        }
        given.extend(last);
        functions::call(function, &given).map_err(|wrong| match wrong {
            Wrong::Count(want) => {
                let why =
                    format!("wrong number of args for {name}: want {want} got {}", given.len());
                failed(pos, name, why)
            }
            Wrong::Argument(at, why) => match arguments.get(at) {
                Some(argument @ (Expr::Number(..) | Expr::Bool(..) | Expr::String(..))) => {
                    let at = syntax::expr(argument);
                    let expected =
                        why.split("expected ").nth(1).and_then(|rest| rest.split(';').next());
                    let expected = expected.unwrap_or("another type");
                    let why = format!("expected {expected}; found {at}");
                    failed(argument.pos(), at, why)
                }
                Some(argument) => failed(syntax::place(argument), syntax::expr(argument), why),
                None => failed(pos, syntax::command(command), why),
            },
            Wrong::Call(why) => {
                let at = syntax::command(command);
                failed(command.pos, at, format!("error calling {name}: {why}"))
            }
        })
    }

    /// `and` and `or`, which stop at the first value that decides.
    fn logic(
        &mut self,
        dot: &Value,
        pos: Pos,
        name: &str,
        arguments: &[Expr],
        last: Option<Value>,
    ) -> Result<Value> {
        let mut value = None;
        for argument in arguments {
            let found = self.argument(dot, argument)?;
            if found.is_true() == (name == "or") {
                return Ok(found);
            }
            value = Some(found);
        }
        let why = || format!("wrong number of args for {name}: want at least 1 got 0");
        last.or(value).ok_or_else(|| failed(pos, name, why()))
    }
}

/// The method `Label`.
fn label(row: &Struct, arguments: &[Value]) -> std::result::Result<Value, String> {
    let [name] = arguments else {
        return Err(format!("wrong number of args for Label: want 1 got {}", arguments.len()));
    };
    let Some(name) = name.as_text() else {
        return Err(format!("wrong type for value; expected string; got {}", name.type_name()));
    };
    Ok(match &row.labels {
        Some(Labels::Of(labels)) => Value::text(labels.get(name).map_or("", String::as_str)),
        // The last part of the name, in words.
        _ => Value::text(name.rsplit('.').next().unwrap_or(name).replace(['-', '_'], " ")),
    })
}
