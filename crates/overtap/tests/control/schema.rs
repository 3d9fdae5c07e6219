//! Holds answers against the document that describes them: as much of JSON Schema as it uses.

use serde_json::{Map, Value};

/// The document, as the controller gives it.
pub(crate) struct Described(Value);

impl Described {
    pub(crate) fn new(document: &str) -> Self {
        Self(serde_json::from_str(document).unwrap())
    }

    /// Every method and path.
    pub(crate) fn operations(&self) -> Vec<(String, String)> {
        let paths = self.0["paths"].as_object().unwrap();
        let methods = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        });
        methods.collect()
    }

    /// Says what is wrong with an answer; a status that is not described is wrong too.
    pub(crate) fn fault(
        &self,
        method: &str,
        path: &str,
        status: u16,
        body: &str,
    ) -> Option<String> {
        let path = path.split('?').next().unwrap();
        let operation = self.operation(&method.to_lowercase(), path)?;
        let Some(described) = operation["responses"].get(status.to_string()) else {
            return Some(format!("{method} {path}: {status} is not described"));
        };
        let contents = described.get("content").and_then(Value::as_object);
        let json = contents.into_iter().flatten().find(|(kind, _)| kind.contains("json"));
        let (_, content) = json?;
        let body: Value = match serde_json::from_str(body) {
            Ok(body) => body,
            Err(error) => return Some(format!("{method} {path}: {error}: {body}")),
        };
        let fault = self.check(&content["schema"], &body, "$").err()?;
        Some(format!("{method} {path}: {fault}: {body:#}"))
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let is_it = |template: &str| {
            let (mut asked, mut known) = (path.split('/'), template.split('/'));
            loop {
                match (asked.next(), known.next()) {
                    (None, None) => return true,
                    (Some(_), Some(known)) if known.starts_with('{') => {}
                    (Some(asked), Some(known)) if asked == known => {}
                    _ => return false,
                }
            }
        };
        let paths = self.0["paths"].as_object().unwrap();
        let mut found = paths.iter().filter(|(template, _)| is_it(template));
        // `/agents/invitations` is `/agents/{id}` too; they have not one method in common.
        found.find_map(|(_, methods)| methods.get(method))
    }

    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let name = name.strip_prefix('#').unwrap();
            return self.check(self.0.pointer(name).unwrap(), value, at);
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            return all.iter().try_for_each(|schema| self.check(schema, value, at));
        }
        for any in ["oneOf", "anyOf"] {
            let Some(schemas) = schema.get(any).and_then(Value::as_array) else { continue };
            let faults: Vec<String> =
                schemas.iter().filter_map(|schema| self.check(schema, value, at).err()).collect();
            return if faults.len() < schemas.len() { Ok(()) } else { Err(faults.join(" | ")) };
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array)
            && !words.contains(value)
        {
            return Err(format!("{at} is none of {words:?}"));
        }
        let kinds: Vec<&str> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return Ok(()),
        };
        if !kinds.iter().any(|kind| is_a(kind, value)) {
            return Err(format!("{at} is no {kinds:?}"));
        }
        match value {
            Value::Array(items) => items.iter().enumerate().try_for_each(|(number, item)| {
                self.check(&schema["items"], item, &format!("{at}[{number}]"))
            }),
            Value::Object(fields) => self.check_object(schema, fields, at),
            _ => Ok(()),
        }
    }

    fn check_object(
        &self,
        schema: &Value,
        fields: &Map<String, Value>,
        at: &str,
    ) -> Result<(), String> {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return Err(format!("{at} has no {name}"));
            }
        }
        let Some(known) = schema.get("properties").and_then(Value::as_object) else {
            return Ok(());
        };
        fields.iter().try_for_each(|(name, value)| {
            known
                .get(name)
                .map_or(Ok(()), |schema| self.check(schema, value, &format!("{at}.{name}")))
        })
    }
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
