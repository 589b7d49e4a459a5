//! The description of the API, made from the table of routes and the types. `openapi.json` in the repository is this,
//! and a test holds the two together.

use std::collections::BTreeMap;

use axum::http::header;
use axum::response::IntoResponse;
use certs::proof::Face;
use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Ref, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HttpMethod, Info, OpenApi, OpenApiBuilder, PathsBuilder, RefOr, Required, Response, ResponseBuilder,
};

use super::routes::{Route, Who, table};
use super::types::ProblemBody;

/// What goes in or comes out.
pub(super) enum Shape {
    /// Nothing: 204.
    Empty,
    /// One value.
    Json(Named),
    /// One value a line.
    Lines(Named),
    /// Bytes of this media type.
    Bytes(&'static str),
    /// Another protocol: 101.
    WebSocket,
}

/// A schema with all it refers to.
pub(super) struct Named {
    name: String,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Shape {
    pub(super) fn json<T: ToSchema>() -> Self {
        Self::Json(Named::of::<T>())
    }

    pub(super) fn lines<T: ToSchema>() -> Self {
        Self::Lines(Named::of::<T>())
    }

    fn named(&self) -> Option<&Named> {
        match self {
            Self::Json(named) | Self::Lines(named) => Some(named),
            Self::Empty | Self::Bytes(_) | Self::WebSocket => None,
        }
    }
}

impl Named {
    fn of<T: ToSchema>() -> Self {
        let name = T::name().into_owned();
        let mut schemas = vec![(name.clone(), T::schema())];
        T::schemas(&mut schemas);
        Self { name, schemas }
    }

    fn reference(&self) -> Ref {
        Ref::from_schema_name(&self.name)
    }
}

const ABOUT: &str = "Every request but those that sign in carries `Authorization: Bearer <token>` and `Holdpoint-Proof: \
    <RFC 3339 time> <start> <base64 of an SSH signature>`, made anew for each with the key one signed in with, over a JSON \
    array of `holdpoint/request/v2`, method, path and query, SHA-256 of the body, the token's id, the time and the start. \
    The start is what the header `Holdpoint-Start` of every answer says; the refusal `other-start` asks for the same request \
    signed for the one that its answer names. Where a client certificate is wanted, the token is \
    `certificate.` and its DER in base64url, its id is the SHA-256 of that DER, and the signature is the certificate's \
    key's (ECDSA, in base64). A no is `application/problem+json` (RFC 9457). \
    No GET changes anything; watching and fetching are journaled.";

/// The description of both faces as one document; each operation says on which face it is, and for whom.
pub fn document() -> OpenApi {
    let table = table();
    let mut schemas: BTreeMap<String, RefOr<Schema>> = Named::of::<ProblemBody>().schemas.into_iter().collect();
    for named in
        table.iter().flat_map(|route| [Some(&route.gives), route.takes.as_ref()]).flatten().filter_map(Shape::named)
    {
        schemas.extend(named.schemas.iter().cloned());
    }
    let components = ComponentsBuilder::new().schemas_from_iter(schemas).security_scheme(
        "token",
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build()),
    );
    let mut paths = PathsBuilder::new().build();
    for ((path, method), doors) in by_operation(&table) {
        let item = PathItem::new(method_of(method), operation(&doors));
        match paths.paths.get_mut(path) {
            Some(there) => there.merge_operations(item),
            None => drop(paths.paths.insert(path.to_owned(), item)),
        }
    }
    let mut info = Info::new("Holdpoint", "1");
    info.description = Some(ABOUT.to_owned());
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

/// The same path and method may stand on both faces.
fn by_operation(table: &[Route]) -> BTreeMap<(&'static str, &'static str), Vec<&Route>> {
    let mut operations: BTreeMap<_, Vec<&Route>> = BTreeMap::new();
    for route in table {
        operations.entry((route.path, route.method)).or_default().push(route);
    }
    operations
}

fn method_of(method: &str) -> HttpMethod {
    match method {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn operation(doors: &[&Route]) -> Operation {
    let route = doors[0];
    let summaries: Vec<&str> = doors.iter().map(|door| door.summary).collect();
    let description = doors.iter().map(|door| who(door)).collect::<Vec<_>>().join(" ");
    let summary =
        if summaries.windows(2).all(|pair| pair[0] == pair[1]) { summaries[0].to_owned() } else { summaries.join(" ") };
    let mut builder = OperationBuilder::new()
        .summary(Some(summary))
        .description(Some(description))
        .operation_id(Some(operation_id(route)))
        .parameters(Some(parameters(route)))
        .request_body(route.takes.as_ref().map(|takes| {
            RequestBodyBuilder::new().content("application/json", content(takes)).required(Some(Required::True)).build()
        }))
        .response("default", problem());
    builder = match doors.iter().map(|door| &door.gives).collect::<Vec<_>>().as_slice() {
        [Shape::WebSocket, ..] => builder.response("101", Response::new("A WebSocket (RFC 6455).")),
        [Shape::Empty, ..] => builder.response("204", Response::new("Done.")),
        [only] => builder.response("200", given(only)),
        several => builder.response("200", one_of(several)),
    };
    if route.who != Who::Anyone {
        builder = builder.security(SecurityRequirement::new("token", Vec::<String>::new()));
    }
    builder.build()
}

fn who(route: &Route) -> String {
    let face = if route.face == Face::Plant { "Plant face" } else { "Vendor face" };
    match route.who {
        Who::Anyone => format!("{face}: anyone."),
        Who::SignedIn(roles) => {
            let roles: Vec<String> = roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
            let how = match (route.by_certificate, route.key_alone) {
                (true, _) => ", by a client certificate",
                (false, true) => ", by key alone too",
                (false, false) => "",
            };
            format!("{face}: {}{how}.", roles.join(", "))
        }
    }
}

fn operation_id(route: &Route) -> String {
    let words = route.path.trim_start_matches("/api/v1").split(['/', '.', '-']).filter(|word| !word.is_empty());
    let words = words.map(|word| word.trim_matches(|c| c == '{' || c == '}'));
    std::iter::once(route.method.to_lowercase()).chain(words.map(str::to_owned)).collect::<Vec<_>>().join("_")
}

fn parameters(route: &Route) -> Vec<Parameter> {
    let text = || ObjectBuilder::new().schema_type(Type::String).build();
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text()))
            .build()
    });
    let in_query = route.query.iter().map(|(name, about)| {
        let required = if *name == "reason" { Required::True } else { Required::False };
        ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Query)
            .required(required)
            .description(Some(*about))
            .schema(Some(text()))
            .build()
    });
    in_path.chain(in_query).collect()
}

fn content(shape: &Shape) -> utoipa::openapi::Content {
    match shape.named() {
        Some(named) => ContentBuilder::new().schema(Some(named.reference())).build(),
        None => ContentBuilder::new().build(),
    }
}

fn given(shape: &Shape) -> Response {
    let media = match shape {
        Shape::Lines(_) => "application/x-ndjson",
        Shape::Bytes(media) => media,
        Shape::Json(_) | Shape::Empty | Shape::WebSocket => "application/json",
    };
    ResponseBuilder::new().description("Done.").content(media, content(shape)).build()
}

/// The faces answer differently: a technician sees less.
fn one_of(shapes: &[&Shape]) -> Response {
    let mut names: Vec<&Named> = shapes.iter().filter_map(|shape| shape.named()).collect();
    names.dedup_by(|a, b| a.name == b.name);
    match names.as_slice() {
        [_] | [] => given(shapes[0]),
        several => {
            let mut one_of = utoipa::openapi::schema::OneOfBuilder::new();
            for named in several {
                one_of = one_of.item(named.reference());
            }
            let content = ContentBuilder::new().schema(Some(Schema::OneOf(one_of.build()))).build();
            ResponseBuilder::new().description("Done.").content("application/json", content).build()
        }
    }
}

fn problem() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemBody::name()))).build();
    ResponseBuilder::new().description("A no, or a failure.").content("application/problem+json", content).build()
}

pub(super) async fn serve() -> impl IntoResponse {
    let text = serde_json::to_string(&document()).expect("the description has string keys and finite numbers");
    ([(header::CONTENT_TYPE, "application/json")], text)
}
