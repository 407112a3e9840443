//! Operations as pictures: the tree of an operation, printed as text, as DOT (Graphviz) and as Mermaid.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// The structure of an operation: combinators with their branches, leaves with what they wait for.
///
/// `Display` draws the tree as indented text:
///
/// ```
/// use fibers::{Op, channel, op, time};
/// use std::time::Duration;
///
/// let (tx, rx) = channel::<u32>(1);
/// let op = op::choice((rx.recv_op().wrap(drop), time::sleep_op(Duration::from_secs(1)).label("give up")));
/// let graph = op.graph();
/// assert!(graph.to_string().starts_with("choice\n├─ wrap\n│  └─ receive"));
/// assert!(graph.to_dot().starts_with("digraph"));
/// assert!(graph.to_mermaid().starts_with("flowchart"));
/// # drop(tx);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    what: Cow<'static, str>,
    label: Option<Cow<'static, str>>,
    branches: Vec<Graph>,
}

impl Graph {
    pub(crate) fn leaf(what: impl Into<Cow<'static, str>>) -> Self {
        Graph {
            what: what.into(),
            label: None,
            branches: Vec::new(),
        }
    }

    pub(crate) fn node(what: impl Into<Cow<'static, str>>, branches: impl IntoIterator<Item = Graph>) -> Self {
        Graph {
            what: what.into(),
            label: None,
            branches: branches.into_iter().collect(),
        }
    }

    pub(crate) fn labelled(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What this node is: the name of a combinator, or what a leaf waits for.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The label given with [`Op::label`](super::Op::label), or the text and place of a `select!` arm.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The branches, in source order; empty for a leaf.
    pub fn branches(&self) -> &[Graph] {
        &self.branches
    }

    /// The leaves, in source order: what the operation waits for.
    pub fn leaves(&self) -> Vec<&Graph> {
        match self.branches.is_empty() {
            true => vec![self],
            false => self.branches.iter().flat_map(Graph::leaves).collect(),
        }
    }

    /// The graph in the language of Graphviz.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph op {\n  node [shape=box];\n");
        self.number(&mut 0, &mut |id, node, parent| {
            let _ = writeln!(out, "  n{id} [label=\"{}\"];", escape(&node.title(), "\\\""));
            if let Some(parent) = parent {
                let _ = writeln!(out, "  n{parent} -> n{id};");
            }
        });
        out + "}\n"
    }

    /// The graph in the language of Mermaid.
    pub fn to_mermaid(&self) -> String {
        let mut out = String::from("flowchart TD\n");
        self.number(&mut 0, &mut |id, node, parent| {
            let _ = writeln!(out, "  n{id}[\"{}\"]", escape(&node.title(), "#quot;"));
            if let Some(parent) = parent {
                let _ = writeln!(out, "  n{parent} --> n{id}");
            }
        });
        out
    }

    fn title(&self) -> String {
        match &self.label {
            Some(label) => format!("{}: {label}", self.what),
            None => self.what.to_string(),
        }
    }

    fn number<'a>(&'a self, next: &mut usize, visit: &mut impl FnMut(usize, &'a Graph, Option<usize>)) {
        fn go<'a, F: FnMut(usize, &'a Graph, Option<usize>)>(
            node: &'a Graph,
            parent: Option<usize>,
            next: &mut usize,
            visit: &mut F,
        ) {
            let id = *next;
            *next += 1;
            visit(id, node, parent);
            for branch in &node.branches {
                go(branch, Some(id), next, visit);
            }
        }
        go(self, None, next, visit);
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, indent: &mut String) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(label) = &self.label {
            write!(f, "  `{label}`")?;
        }
        for (i, branch) in self.branches.iter().enumerate() {
            let last = i + 1 == self.branches.len();
            write!(f, "\n{indent}{}", if last { "└─ " } else { "├─ " })?;
            let length = indent.len();
            indent.push_str(if last { "   " } else { "│  " });
            branch.draw(f, indent)?;
            indent.truncate(length);
        }
        Ok(())
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draw(f, &mut String::new())
    }
}

fn escape(text: &str, quote: &str) -> String {
    let backslash = if quote.starts_with('\\') { "\\\\" } else { "\\" };
    text.replace('\\', backslash).replace('"', quote).replace('\n', " ")
}
