//! Resources, and a skill made of them (SEP-2640).

use rmcp::ErrorData;
use rmcp::model::{
    GetSkillResult, ListResourceTemplatesResult, ListResourcesResult, ListSkillsResult, ReadResourceDirectoryResult,
    ReadResourceResult, Resource, ResourceContents, ResourceTemplate, Skill, SkillFrontmatter, SkillResource,
    SkillResources,
};
use serde_json::json;

use crate::content::PNG;

const SKILL: &str = "skill://note-taking/SKILL.md";
const NAME: &str = "note-taking";
const ABOUT: &str = "Keeps notes that outlive the conversation.";
const DIRECTORY: &str = "inode/directory";

/// The skill's files.
const FILES: [(&str, &str); 2] = [
    (
        SKILL,
        "---\nname: note-taking\ndescription: Keeps notes that outlive the conversation.\n---\n\n# Notes\n\nSee references/style.md.\n",
    ),
    ("skill://note-taking/references/style.md", "# Style\n\nOne thought a note.\n"),
];

pub(crate) fn list() -> ListResourcesResult {
    let mut resources = vec![
        Resource::new("test://static-text", "Static text").with_mime_type("text/plain"),
        Resource::new("test://static-binary", "Static binary").with_mime_type("image/png"),
        Resource::new("test://watched-resource", "Watched").with_mime_type("text/plain"),
    ];
    resources.push(Resource::new(SKILL, NAME).with_description(ABOUT).with_mime_type("text/markdown"));
    ListResourcesResult { resources, ..Default::default() }
}

pub(crate) fn templates() -> ListResourceTemplatesResult {
    let template = ResourceTemplate::new("test://template/{id}/data", "By id").with_mime_type("application/json");
    ListResourceTemplatesResult { resource_templates: vec![template], ..Default::default() }
}

pub(crate) fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let text = |mime: &str, text: String| ResourceContents::TextResourceContents {
        uri: uri.to_owned(),
        mime_type: Some(mime.to_owned()),
        text,
        meta: None,
    };
    let template = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
    let file = FILES.iter().find(|(known, _)| *known == uri);
    let contents = match (uri, template, file) {
        ("test://static-text" | "test://watched-resource", ..) => {
            text("text/plain", "This is the content of the static text resource.".to_owned())
        }
        ("test://static-binary", ..) => ResourceContents::BlobResourceContents {
            uri: uri.to_owned(),
            mime_type: Some("image/png".to_owned()),
            blob: PNG.to_owned(),
            meta: None,
        },
        (_, Some(id), _) => text("application/json", json!({ "id": id, "templateTest": true }).to_string()),
        (_, _, Some((_, content))) => text("text/markdown", (*content).to_owned()),
        _ => return Err(ErrorData::resource_not_found("there is no such resource", Some(json!({ "uri": uri })))),
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

pub(crate) fn skills() -> ListSkillsResult {
    ListSkillsResult { skills: vec![notes()], ..Default::default() }
}

pub(crate) fn skill(uri: &str) -> Result<GetSkillResult, ErrorData> {
    if uri == SKILL {
        return Ok(GetSkillResult::new(notes()));
    }
    Err(ErrorData::invalid_params("there is no such skill", Some(json!({ "uri": uri }))))
}

fn notes() -> Skill {
    let files = FILES.map(|(uri, content)| SkillResource::from_bytes(uri, content.as_bytes()));
    Skill::new(SKILL, SkillFrontmatter::new(NAME, ABOUT), SkillResources::Files(files.into()))
}

pub(crate) fn directory(uri: &str) -> Result<ReadResourceDirectoryResult, ErrorData> {
    let markdown = |uri: &str, name: &str| Resource::new(uri, name).with_mime_type("text/markdown");
    let resources = match uri.trim_end_matches('/') {
        "skill://note-taking" => vec![
            markdown(SKILL, "SKILL.md"),
            Resource::new("skill://note-taking/references", "references").with_mime_type(DIRECTORY),
        ],
        "skill://note-taking/references" => vec![markdown(FILES[1].0, "style.md")],
        _ => return Err(ErrorData::invalid_params("there is no such directory", Some(json!({ "uri": uri })))),
    };
    Ok(ReadResourceDirectoryResult { resources, ..Default::default() })
}
