//! Pieces of a template as they stand in Go's messages, and checks that Go makes while parsing.

use gotmpl::parse::{CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos, TemplateNode};

/// `(index .Ports "80/tcp") | len`
pub(crate) fn pipe(pipe: &PipeNode) -> String {
    let commands: Vec<String> = pipe.commands.iter().map(command).collect();
    let declared = match pipe.decl.as_slice() {
        [] => String::new(),
        names => {
            let sign = if pipe.is_assign { "=" } else { ":=" };
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            format!("{} {sign} ", names.join(", "))
        }
    };
    format!("{declared}{}", commands.join(" | "))
}

/// `index .Ports "80/tcp"`
pub(crate) fn command(command: &CommandNode) -> String {
    let words: Vec<String> = command.args.iter().map(expr).collect();
    words.join(" ")
}

/// `.State.Status`
pub(crate) fn expr(expr: &Expr) -> String {
    let joined = |names: &[gotmpl::parse::SmolStr]| {
        names.iter().map(|name| format!(".{name}")).collect::<String>()
    };
    match expr {
        Expr::Dot(_) => ".".to_owned(),
        Expr::Nil(_) => "nil".to_owned(),
        Expr::Field(_, names) => joined(names),
        Expr::Variable(_, name, names) => format!("{name}{}", joined(names)),
        Expr::Identifier(_, name) => name.to_string(),
        Expr::String(_, text) => crate::printf::quoted(text),
        Expr::Number(_, Number::Int(number)) => number.to_string(),
        Expr::Number(_, Number::Uint(number)) => number.to_string(),
        Expr::Number(_, Number::Float(number)) => number.to_string(),
        Expr::Bool(_, flag) => flag.to_string(),
        Expr::Pipe(_, inner) => format!("({})", pipe(inner)),
        Expr::Chain(_, inner, names) => format!("{}{}", self::expr(inner), joined(names)),
    }
}

/// `{{template "x" .}}`
pub(crate) fn template_call(call: &TemplateNode) -> String {
    let data = call.pipe.as_ref().map(|data| format!(" {}", pipe(data))).unwrap_or_default();
    format!("{{{{template {:?}{data}}}}}", &*call.name)
}

/// Where Go says that an expression stands: a chain of fields stands at its second part.
pub(crate) fn place(expr: &Expr) -> Pos {
    let pos = expr.pos();
    let skipped = match expr {
        Expr::Field(_, names) if names.len() > 1 => names.first().map_or(0, |name| name.len() + 1),
        Expr::Variable(_, name, names) if !names.is_empty() => name.len(),
        _ => 0,
    };
    Pos::new(pos.offset + skipped, pos.line)
}

/// What is wrong with a template that can be parsed: an unknown function, `break` outside `range`.
pub(crate) fn mistake(
    list: &ListNode,
    in_range: bool,
    is_function: &dyn Fn(&str) -> bool,
) -> Option<(usize, String)> {
    list.nodes.iter().find_map(|node| {
        let branch = |branch: &gotmpl::parse::BranchNode, in_range: bool| {
            pipe_mistake(&branch.pipe, is_function)
                .or_else(|| mistake(&branch.body, in_range, is_function))
                .or_else(|| {
                    let otherwise = branch.else_body.as_ref()?;
                    mistake(otherwise, in_range, is_function)
                })
        };
        match node {
            Node::Action(action) => pipe_mistake(&action.pipe, is_function),
            Node::If(inner) | Node::With(inner) => branch(inner, in_range),
            Node::Range(inner) => branch(inner, true),
            Node::List(list) => mistake(list, in_range, is_function),
            Node::Template(call) => {
                call.pipe.as_ref().and_then(|data| pipe_mistake(data, is_function))
            }
            Node::Define(define) => mistake(&define.body, false, is_function),
            Node::Break(pos) if !in_range => {
                Some((pos.line, "{{break}} outside {{range}}".to_owned()))
            }
            Node::Continue(pos) if !in_range => {
                Some((pos.line, "{{continue}} outside {{range}}".to_owned()))
            }
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => None,
        }
    })
}

fn pipe_mistake(pipe: &PipeNode, is_function: &dyn Fn(&str) -> bool) -> Option<(usize, String)> {
    let mut words = pipe.commands.iter().flat_map(|command| &command.args);
    words.find_map(|word| expr_mistake(word, is_function))
}

fn expr_mistake(expr: &Expr, is_function: &dyn Fn(&str) -> bool) -> Option<(usize, String)> {
    match expr {
        Expr::Identifier(pos, name) if !is_function(name) => {
            Some((pos.line, format!("function \"{name}\" not defined")))
        }
        Expr::Pipe(_, pipe) => pipe_mistake(pipe, is_function),
        Expr::Chain(_, inner, _) => expr_mistake(inner, is_function),
        _ => None,
    }
}
