// Common English words for generated texts. Pure data.

/** Lower-case words of everyday English; most are one token of an English WordPiece vocabulary. */
export const wordList: readonly string[] = `
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power hour
game line end member law car city community name president team minute idea body information back parent face others
level office door health person art war history party result change morning reason research girl guy moment air teacher
force education foot boy age policy music market sense death plan college interest experience effect use class control
field development role effort rate heart drug show leader light voice wife whole police mind price report decision son
view relationship town road arm difference value building action season society tax director position player record
paper space ground form event matter center couple site project activity star table need court oil situation cost
industry figure street image phone data picture practice piece land product doctor wall patient worker news test movie
good bad great small large old new high low young early late long little public important different same able best
better sure clear free full special easy strong possible hard main simple happy sad slow fast quiet loud warm cold dark
have say get make go know take see come think look want give find tell ask seem feel try leave call keep let begin help
talk turn start run move like live believe hold bring happen write provide sit stand lose pay meet include continue set
learn lead understand watch follow stop create speak read allow add spend grow open walk win offer remember love
consider appear buy wait serve die send expect build stay fall cut reach kill remain suggest raise pass sell require
decide pull and or but because while when after before with without about over under through between against during
never always often really very quite almost again together already still maybe perhaps today tomorrow yesterday here
`
  .trim()
  .split(/\s+/u);
