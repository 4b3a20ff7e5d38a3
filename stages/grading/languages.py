"""Words of denial in languages other than English, as parts of the patterns of `denial`."""
# ruff: noqa: RUF001  the characters of other scripts are what this module is about

BREAKS = (
    r"sondern|aber|mais|sino|pero|bensì|mas|maar|но|а|але|بل|لكن|बल्कि|लेकिन|men|utan|vaan|mutta|lecz|ale|nýbrž|ci|dar|nego"
    r"|već|ali|hanem|melainkan|tetapi|tapi|nhưng|mà|αλλά|ama|fakat"
)
"""Words that begin a new clause, as "but" does."""
UNSPACED_BREAKS = r"而是|但是|でなく|ではなく|じゃなく"

DENIALS = (
    r"nicht|kein\w*|weder|anstatt|statt|(?-i:ob)|pas|et\s+non|ni|jamais|plutôt\s+que|au\s+lieu\s+de"
    r"|no\s+(?:es|era|fue|son|está|sé|creo|puedo)|nunca|en\s+(?:vez|lugar)\s+de"
    r"|non\s+(?:è|era|fu|so)|né|invece\s+di|não|nem|nie|niet|geen|inte|ikke|ei\s+(?:ole|ollut)|není|nu\s+(?:e|este|a\s+fost)|nije"
    r"|bukan|không\s+(?:phải|là)|δεν|не|нет|ни|није|вместо|ليس|ليست|غير|לא|אינו|אינה"
)
"""Words before what they deny, in scripts with spaces."""
UNSPACED_DENIALS = (
    r"不是|并非|並非|不(?![仅僅但只止丹列管论論过過久断斷])|没有|没|未(?![来來央婚])|非(?![洲常凡裔])|無|ไม่ใช่|ไม่"
)
"""Words directly before what they deny, in scripts without spaces."""

DENIALS_AFTER = r"""
      (?:ist|sind|war|waren|wird|wurde|kann|hat)\s+(?:(?:aber|doch|gar|überhaupt)\s+)?(?:nicht(?!\s+nur)|kein\w*)\b
    | (?:n['e]\s?\w+\s+pas|no\s+(?:es|era|fue|son|está)|non\s+(?:è|era|fu)|não\s+(?:é|era|foi|está))\b
      (?!\s+(?:sol[oa]|sólo|só|seulement|apenas|soltanto)\b)
    | (?:is|was|zijn)\s+(?:niet(?!\s+alleen)|geen)\b
    | (?:är|var)\s+inte(?!\s+bara)\b | er\s+ikke(?!\s+(?:bare|kun))\b | (?:nie|není|nije|nu\s+este|bukan|δεν\s+είναι)\b
    | (?:(?:это|—|-)\s+)?не(?!\s+только)\b
    | (?:并|並|才)?不(?:是|对|對|正确|正確)(?!只) | 并非 | 並非 | 不成立
    | ไม่ใช่ | không\s+phải
    | (?:では|じゃ|で)(?:ない|なく|ありません|なかった)
    | (?:이|가)?\s*아(?:니|닌|닙|닐)
    | değil
    | नहीं | (?:\S+\s+)?नहीं\s+(?:है|था|थी|हैं)
    | (?:\S+\s+)?نہیں | نیست | নয় | இல்லை | அல்ல
    | (?:ليس|ليست|لا)\b
"""
"""Phrases directly after what they deny; for a pattern in verbose mode."""
