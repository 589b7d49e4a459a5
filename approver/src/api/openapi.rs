//! The description of the API, made from the table of routes and the types; each face describes itself. The files in
//! `openapi/` are this, and tests hold them together with it and with what the program does.

use std::collections::BTreeMap;

use axum::extract::State;
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

use super::Api;
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

/// The description of a face; each operation says for whom it is.
pub fn document(face: Face) -> OpenApi {
    let table: Vec<Route> = table().into_iter().filter(|route| route.face == face).collect();
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
    for route in &table {
        let item = PathItem::new(method_of(route.method), operation(route));
        match paths.paths.get_mut(route.path) {
            Some(there) => there.merge_operations(item),
            None => drop(paths.paths.insert(route.path.to_owned(), item)),
        }
    }
    let title = match face {
        Face::Plant => "Holdpoint, plant face",
        Face::Vendor => "Holdpoint, vendor face",
    };
    let mut info = Info::new(title, "1");
    info.description = Some(ABOUT.to_owned());
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

fn method_of(method: &str) -> HttpMethod {
    match method {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn operation(route: &Route) -> Operation {
    let mut builder = OperationBuilder::new()
        .summary(Some(route.summary))
        .description(Some(who(route)))
        .operation_id(Some(operation_id(route)))
        .parameters(Some(parameters(route)))
        .request_body(route.takes.as_ref().map(|takes| {
            RequestBodyBuilder::new().content("application/json", content(takes)).required(Some(Required::True)).build()
        }))
        .response("default", problem());
    builder = match &route.gives {
        Shape::WebSocket => builder.response("101", Response::new("A WebSocket (RFC 6455).")),
        Shape::Empty => builder.response("204", Response::new("Done.")),
        shape => builder.response("200", given(shape)),
    };
    if route.who != Who::Anyone {
        builder = builder.security(SecurityRequirement::new("token", Vec::<String>::new()));
    }
    builder.build()
}

fn who(route: &Route) -> String {
    match route.who {
        Who::Anyone => "For anyone.".to_owned(),
        Who::SignedIn(roles) => {
            let roles: Vec<String> = roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
            let how = match (route.by_certificate, route.key_alone) {
                (true, _) => ", by a client certificate",
                (false, true) => ", by key alone too",
                (false, false) => "",
            };
            format!("For: {}{how}.", roles.join(", "))
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
    let writes = route.method != "GET" && route.who != Who::Anyone;
    let once = writes.then(|| {
        ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Sent again with the same key and body, it is done once, and answered as at first."))
            .schema(Some(text()))
            .build()
    });
    in_path.chain(in_query).chain(once).collect()
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

fn problem() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemBody::name()))).build();
    ResponseBuilder::new().description("A no, or a failure.").content("application/problem+json", content).build()
}

pub(super) async fn serve(State(api): State<Api>) -> impl IntoResponse {
    let text =
        serde_json::to_string(&document(api.face())).expect("the description has string keys and finite numbers");
    ([(header::CONTENT_TYPE, "application/json")], text)
}
